"""Whether methods can be run on a dataset: they are of its analysis, have their models, and these know its events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.methods.bdt_model import BdtModel
from hhh_coffea.methods.method import MethodOptions, extra_features, settings_of
from hhh_coffea.methods.spanet import SpanetModel
from hhh_coffea.reconstruction.analysis import Analysis

if TYPE_CHECKING:
    from hhh_coffea.methods.pdnn import PdnnModel


TRAINING = {"delphes": "docs/training.md", "nanoaod": "docs/nanoaod_training.md"}  # page by format


def check_models(methods: Iterable[str], analysis: Analysis, options: MethodOptions) -> None:
    """Check methods and their options against an analysis.

    Raises
    ------
    SpanetError
        if a method has no model for its targets.
    UserError
        if it has no such method, or if the χ² pairing may choose from too few jets.
    """
    for name, given in options.settings.items():
        _check_settings(name, given, methods, analysis, options)
    needs = options.needs(methods, analysis)
    if "spanet" in needs:
        options.spanet_for(analysis)
    if "pdnn" in needs:
        options.pdnn_for(analysis)
    if options.chi2_jets is not None and options.chi2_jets < analysis.jets_needed:
        raise UserError(
            f"option 'chi2_jets': {options.chi2_jets} jets cannot hold the {analysis.jets_needed} of analysis {analysis.name!r}"
        )


def _check_settings(
    name: str, given: Mapping[str, Any], methods: Iterable[str], analysis: Analysis, options: MethodOptions
) -> None:
    model = options.method(name, analysis).settings if name in methods else None
    if model is None:
        raise UserError(f"settings of method {name!r}: analysis {analysis.name!r} has none for it")
    settings_of(name, model, {name: given})


class ForeignEventsError(UserError):
    """A model was trained on events of another format; the message names the model, its features and both formats."""


def check_trained_on(needs: Collection[str], options: MethodOptions, data_format: str) -> None:
    """Refuse a model for events of a format that it was not trained on, unless the options accept it.

    ``needs``: kinds of models that are used (:meth:`MethodOptions.needs`). A feature of the same name is not the same
    thing there: the b tag of a Delphes card is no score of DeepJet.

    Raises
    ------
    ForeignEventsError
        naming the model and its features.
    """
    models: list[tuple[str, BdtModel | SpanetModel | PdnnModel, Sequence[str]]] = []
    if "bdt" in needs and options.bdt is not None:
        models.append(("BDT", options.bdt, options.bdt.features))
    if "spanet" in needs:
        models += [("SPANet", m, [f for i in m.topology.inputs for f in i.feature_names]) for m in options.spanet]
    if "pdnn" in needs:
        models += [("permutation network", m, ("jets", "leptons", "met")) for m in options.pdnn]
    for kind, model, features in models:
        if model.trained_on and data_format not in model.trained_on and not options.accept_foreign_model:
            raise ForeignEventsError(
                f"{kind} model {model.name!r} was trained on {', '.join(model.trained_on)} events: its features "
                f"{', '.join(features)} are different quantities in {data_format} events. "
                f"Train a model on {data_format} ({TRAINING[data_format]}), or apply this one with --accept-foreign-model"
            )


def check_usable(methods: Iterable[str], analysis: Analysis, options: MethodOptions, data_format: str) -> None:
    """Check that methods can be run on a dataset: :func:`check_models` and :func:`check_trained_on`."""
    check_models(methods, analysis, options)
    check_trained_on(options.needs(methods, analysis), options, data_format)


def branches_for(
    methods: Sequence[str], analysis: Analysis, options: MethodOptions, metadata: DatasetMetadata
) -> list[str]:
    """Branches that an analysis and methods read from files of a dataset, after :func:`check_usable`."""
    from hhh_coffea.events.formats import branches_of  # here, for statistics need methods, and no coffea

    check_usable(methods, analysis, options, metadata.format)
    return branches_of(metadata, extra_features(methods, options, analysis), analysis.collections)

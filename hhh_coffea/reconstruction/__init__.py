"""From the event record to Higgs candidates: one file a method, one common result.

:data:`METHODS` lists the methods by name: what ``--methods`` accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.base.errors import UserError
from hhh_coffea.reconstruction import bdt, chi2, spanet
from hhh_coffea.reconstruction.bdt_model import BdtModel, load_model
from hhh_coffea.reconstruction.spanet import SpanetError, SpanetModel

DEFAULT_BDT = "hbb_bdt"
SCORE = "bdt_score"  # of each fat jet: methods and definitions share it
DEFAULT_WORKING_POINT = "loose"  # that of the published comparison: 2% misidentification


@dataclass(frozen=True)
class MethodOptions:
    """Settings of the methods; :func:`method_options` makes them from what the run command takes."""

    chi2_jets: int | None = None  # jets the pairing may choose from; 2·n_higgs when None
    chi2_mass: float = chi2.HIGGS_MASS  # GeV
    bdt: BdtModel | None = None
    bdt_cut: float = 1.0  # score above which a fat jet is a candidate
    spanet: tuple[SpanetModel, ...] = ()  # each for another number of Higgs bosons
    decoded: Mapping[str, ak.Array] | None = None  # candidates by decoding, where the network has been run already

    def models(self) -> dict[str, dict[str, Any]]:
        """Weights in use and how, for the record of a run."""
        used: dict[str, dict[str, Any]] = {
            f"spanet_{m.n_higgs}_higgs": {"name": m.name, "sha256": m.sha256, "device": m.device} for m in self.spanet
        }
        if self.bdt is not None:
            used["bdt"] = {"name": self.bdt.name, "sha256": self.bdt.sha256, "cut": self.bdt_cut}
        return used

    def spanet_for(self, n_higgs: int) -> SpanetModel:
        """The SPANet model that looks for this many Higgs bosons; SpanetError if there is none."""
        for model in self.spanet:
            if model.n_higgs == n_higgs:
                return model
        has = ", ".join(f"{m.name} ({m.n_higgs})" for m in self.spanet) or "none"
        raise SpanetError(
            f"method 'spanet': no model for {n_higgs} Higgs bosons; given: {has}. "
            "Name one with --model, or leave such datasets out"
        )


Candidates = dict[str, ak.Array]  # by definition
Reconstruct = Callable[[ak.Array, int, MethodOptions, Sequence[str]], Candidates]


def _no_features(_: MethodOptions) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Method:
    """A reconstruction method.

    ``reconstruct(record, n_higgs, options, definitions)`` returns candidates for each definition: the same ones unless
    the published analysis ran the method differently. ``fatjet_features(options)``: what it reads of the fat jets beyond
    their kinematics. ``needs``: the kind of model it needs. ``decodings``: for SPANet, how its output is read in each
    definition.
    """

    reconstruct: Reconstruct
    fatjet_features: Callable[[MethodOptions], tuple[str, ...]] = _no_features
    needs: Literal["bdt", "spanet"] | None = None
    decodings: Mapping[str, str] = field(default_factory=dict)


def _chi2(record: ak.Array, n_higgs: int, options: MethodOptions, definitions: Sequence[str]) -> Candidates:
    return dict.fromkeys(definitions, chi2.reconstruct(record, n_higgs, options.chi2_jets, options.chi2_mass))


def _chi2_as_published(
    record: ak.Array, n_higgs: int, options: MethodOptions, definitions: Sequence[str]
) -> Candidates:
    return dict.fromkeys(definitions, chi2.reconstruct_as_published(record, n_higgs, options.chi2_mass))


def _chi2_bdt(record: ak.Array, n_higgs: int, options: MethodOptions, definitions: Sequence[str]) -> Candidates:
    scores, cut = _scores(record, options), options.bdt_cut
    found = {}
    for definition in definitions:
        if definition == "reference":
            pairs = chi2.reconstruct(record, n_higgs, options.chi2_jets, options.chi2_mass)
            found[definition] = bdt.reconstruct_reference(record, scores, cut, n_higgs, pairs)
        else:
            found[definition] = bdt.reconstruct(record, scores, cut, n_higgs, options.chi2_jets, options.chi2_mass)
    return found


def _chi2_bdt_as_published(
    record: ak.Array, n_higgs: int, options: MethodOptions, definitions: Sequence[str]
) -> Candidates:
    pairs = chi2.reconstruct_as_published(record, n_higgs, options.chi2_mass)
    scores = _scores(record, options)
    return dict.fromkeys(definitions, bdt.reconstruct_reference(record, scores, options.bdt_cut, n_higgs, pairs))


def _spanet(default: str, reference: str) -> Method:
    """The network with a decoding for each definition."""
    decodings = {"default": default, "reference": reference}

    def run(record: ak.Array, n_higgs: int, options: MethodOptions, definitions: Sequence[str]) -> Candidates:
        wanted = {d: decodings[d] for d in definitions}
        found = options.decoded
        if found is None:
            found = spanet.reconstruct(record, options.spanet_for(n_higgs), dict.fromkeys(wanted.values()))
        return {definition: found[name] for definition, name in wanted.items()}

    return Method(run, _spanet_features, "spanet", decodings)


def _scores(record: ak.Array, options: MethodOptions) -> npt.NDArray[np.float32]:
    if SCORE in record.fatjets.fields:
        return flat(record.fatjets[SCORE])
    return bdt.score(record.fatjets, _bdt_of(options))


def _bdt_of(options: MethodOptions) -> BdtModel:
    if options.bdt is None:
        raise ValueError("method 'chi2+bdt' needs a BDT: make its options with method_options()")
    return options.bdt


def _bdt_features(options: MethodOptions) -> tuple[str, ...]:
    return _bdt_of(options).substructure


def _spanet_features(options: MethodOptions) -> tuple[str, ...]:
    return tuple(feature for model in options.spanet for feature in model.substructure)


METHODS: dict[str, Method] = {
    "chi2": Method(_chi2),
    "chi2_as_published": Method(_chi2_as_published),
    "chi2+bdt": Method(_chi2_bdt, _bdt_features, "bdt"),
    "chi2+bdt_as_published": Method(_chi2_bdt_as_published, _bdt_features, "bdt"),
    # the published post-processing in the published definitions, ours in ours
    "spanet": _spanet(default="joint", reference="reference"),
    **{f"spanet:{name}": _spanet(name, name) for name in ("joint", "reference", "greedy")},
}


def method_options(
    methods: Iterable[str],
    chi2_jets: int | None = None,
    chi2_mass: float = chi2.HIGGS_MASS,
    bdt: str | Path = DEFAULT_BDT,
    bdt_wp: str | float = DEFAULT_WORKING_POINT,
    model: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
) -> MethodOptions:
    """Settings for these methods: loads the models they need, and no others. ``model`` is one, or several.

    Raises
    ------
    BdtError, SpanetError
        if a model, its working point or the device cannot be used.
    """
    needs = {METHODS[name].needs for name in methods if name in METHODS}
    settings: dict[str, Any] = {"chi2_jets": chi2_jets, "chi2_mass": chi2_mass}
    if "bdt" in needs:
        settings["bdt"] = load_model(bdt)
        settings["bdt_cut"] = settings["bdt"].cut(bdt_wp)
    if "spanet" in needs:
        settings["spanet"] = spanet.load_models([model] if isinstance(model, str | Path) else model, device)
    return MethodOptions(**settings)


def check_models(methods: Iterable[str], n_higgs: int, options: MethodOptions) -> None:
    """Check the options of the methods against the number of Higgs bosons of a dataset.

    Raises
    ------
    SpanetError
        if a method has no model for events with this many Higgs bosons.
    UserError
        if the χ² pairing may choose from too few jets.
    """
    if any(METHODS[name].needs == "spanet" for name in methods if name in METHODS):
        options.spanet_for(n_higgs)
    if options.chi2_jets is not None and options.chi2_jets < 2 * n_higgs:
        raise UserError(f"option 'chi2_jets': {options.chi2_jets} jets cannot hold 2·n_higgs = {2 * n_higgs}")


class ForeignEventsError(UserError):
    """A model was trained on events of another format; the message names the model, its features and both formats."""


def check_trained_on(methods: Iterable[str], options: MethodOptions, data_format: str) -> None:
    """Refuse a model for events of a format that it was not trained on.

    A feature of the same name is not the same thing there: the b tag of a Delphes card is no score of DeepJet.

    Raises
    ------
    ForeignEventsError
        naming the model and its features.
    """
    needs = {METHODS[name].needs for name in methods if name in METHODS}
    models: list[tuple[str, BdtModel | SpanetModel, Sequence[str]]] = []
    if "bdt" in needs and options.bdt is not None:
        models.append(("BDT", options.bdt, options.bdt.features))
    if "spanet" in needs:
        models += [("SPANet", m, [f for i in m.topology.inputs for f in i.feature_names]) for m in options.spanet]
    for kind, model, features in models:
        if model.trained_on and data_format not in model.trained_on:
            raise ForeignEventsError(
                f"{kind} model {model.name!r} was trained on {', '.join(model.trained_on)}: it cannot take "
                f"{', '.join(features)} from {data_format} events, where they are made of other things. "
                f"Train one on {data_format} (docs/nanoaod.md)"
            )


def methods_for(methods: Iterable[str], definition: str, n_higgs: int) -> list[str]:
    """Methods to evaluate in a definition: ``reference`` adds the published HH pairing beside the correct one."""
    names = list(methods)
    if definition == "reference" and n_higgs == 2:
        for name in list(names):
            published = f"{name}_as_published"
            if published in METHODS and published not in names:
                names.append(published)
    return names


def jets_paired(method: str, n_higgs: int, max_jets: int, options: MethodOptions) -> int:
    """How many of an event's jets, in the record's order, a method may pair: χ² the first few, a network all kept."""
    return max_jets if METHODS[method].needs == "spanet" else max(options.chi2_jets or 0, 2 * n_higgs)


def fatjet_features(methods: Iterable[str], options: MethodOptions) -> list[str]:
    """Fat-jet features beyond the kinematics that these methods read."""
    return sorted({feature for name in methods for feature in METHODS[name].fatjet_features(options)})


def reconstruct(
    wanted: Mapping[str, Iterable[str]], record: ak.Array, n_higgs: int, options: MethodOptions
) -> dict[str, dict[str, ak.Array]]:
    """``{definition: methods}`` → ``{definition: {method: candidates}}``, all on the same events, none run twice.

    Raises
    ------
    ValueError
        for a method that does not exist.
    """
    names_wanted = list(dict.fromkeys(name for names in wanted.values() for name in names))
    for name in names_wanted:
        if name not in METHODS:
            raise ValueError(f"no method {name!r}; there are {sorted(METHODS)}")
    if any(METHODS[name].needs == "bdt" for name in names_wanted):
        scores = ak.unflatten(_scores(record, options), counts_of(record.fatjets.pt))
        record = ak.with_field(record, scores, ("fatjets", SCORE))
    decodings = {METHODS[name].decodings.get(d) for d, names in wanted.items() for name in names} - {None}
    if decodings and options.decoded is None:
        found_once = spanet.reconstruct(record, options.spanet_for(n_higgs), sorted(filter(None, decodings)))
        options = replace(options, decoded=found_once)
    found: dict[str, dict[str, ak.Array]] = {definition: {} for definition in wanted}
    for name in names_wanted:
        definitions = [definition for definition, names in wanted.items() if name in names]
        for definition, candidates in METHODS[name].reconstruct(record, n_higgs, options, definitions).items():
            found[definition][name] = candidates
    return found

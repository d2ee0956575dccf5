"""From the event record to Higgs candidates: one file a method, one common result.

:data:`METHODS` lists the methods by name: what ``--methods`` accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.jagged import counts_of, flat
from hhh_coffea.reconstruction import bdt, chi2
from hhh_coffea.reconstruction.bdt_model import BdtModel, load_model

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

    def models(self) -> dict[str, dict[str, Any]]:
        """Weights in use and how, for the record of a run."""
        if self.bdt is None:
            return {}
        return {"bdt": {"name": self.bdt.name, "sha256": self.bdt.sha256, "cut": self.bdt_cut}}


def _no_features(_: MethodOptions) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Method:
    """A reconstruction method.

    ``reconstruct(record, n_higgs, options, definition)`` returns candidates. ``by_definition``: whether the published
    analysis ran it differently, so that ``reference`` and ``default`` need candidates of their own.
    ``fatjet_features(options)``: what it reads of the fat jets beyond their kinematics.
    """

    reconstruct: Callable[[ak.Array, int, MethodOptions, str], ak.Array]
    by_definition: bool = False
    fatjet_features: Callable[[MethodOptions], tuple[str, ...]] = _no_features
    needs_bdt: bool = False


def _chi2(record: ak.Array, n_higgs: int, options: MethodOptions, _: str) -> ak.Array:
    return chi2.reconstruct(record, n_higgs, options.chi2_jets, options.chi2_mass)


def _chi2_as_published(record: ak.Array, n_higgs: int, options: MethodOptions, _: str) -> ak.Array:
    return chi2.reconstruct_as_published(record, n_higgs, options.chi2_mass)


def _chi2_bdt(record: ak.Array, n_higgs: int, options: MethodOptions, definition: str) -> ak.Array:
    scores = _scores(record, options)
    if definition == "reference":
        pairs = _chi2(record, n_higgs, options, definition)
        return bdt.reconstruct_reference(record, scores, options.bdt_cut, n_higgs, pairs)
    return bdt.reconstruct(record, scores, options.bdt_cut, n_higgs, options.chi2_jets, options.chi2_mass)


def _chi2_bdt_as_published(record: ak.Array, n_higgs: int, options: MethodOptions, definition: str) -> ak.Array:
    scores = _scores(record, options)
    pairs = _chi2_as_published(record, n_higgs, options, definition)
    return bdt.reconstruct_reference(record, scores, options.bdt_cut, n_higgs, pairs)


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


METHODS: dict[str, Method] = {
    "chi2": Method(_chi2),
    "chi2_as_published": Method(_chi2_as_published),
    "chi2+bdt": Method(_chi2_bdt, by_definition=True, fatjet_features=_bdt_features, needs_bdt=True),
    "chi2+bdt_as_published": Method(_chi2_bdt_as_published, fatjet_features=_bdt_features, needs_bdt=True),
}


def method_options(
    methods: Iterable[str],
    chi2_jets: int | None = None,
    chi2_mass: float = chi2.HIGGS_MASS,
    bdt: str | Path = DEFAULT_BDT,
    bdt_wp: str | float = DEFAULT_WORKING_POINT,
) -> MethodOptions:
    """Settings for these methods: loads the models they need, and no others.

    Raises
    ------
    BdtError
        if the model or its working point cannot be used.
    """
    if not any(METHODS[name].needs_bdt for name in methods if name in METHODS):
        return MethodOptions(chi2_jets, chi2_mass)
    model = load_model(bdt)
    return MethodOptions(chi2_jets, chi2_mass, model, model.cut(bdt_wp))


def methods_for(methods: Iterable[str], definition: str, n_higgs: int) -> list[str]:
    """Methods to evaluate in a definition: ``reference`` adds the published HH pairing beside the correct one."""
    names = list(methods)
    if definition == "reference" and n_higgs == 2:
        for name in list(names):
            published = f"{name}_as_published"
            if published in METHODS and published not in names:
                names.append(published)
    return names


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
    names_wanted = {name for names in wanted.values() for name in names}
    if unknown := sorted(names_wanted - set(METHODS)):
        raise ValueError(f"no method {unknown[0]!r}; there are {sorted(METHODS)}")
    if any(METHODS[name].needs_bdt for name in names_wanted):
        scores = ak.unflatten(_scores(record, options), counts_of(record.fatjets.pt))
        record = ak.with_field(record, scores, ("fatjets", SCORE))
    made: dict[tuple[str, str], ak.Array] = {}
    found: dict[str, dict[str, ak.Array]] = {}
    for definition, names in wanted.items():
        found[definition] = {}
        for name in names:
            method = METHODS[name]
            key = (name, definition if method.by_definition else "")
            if key not in made:
                made[key] = method.reconstruct(record, n_higgs, options, definition)
            found[definition][name] = made[key]
    return found

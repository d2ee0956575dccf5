"""From the event record to Higgs candidates: one file a method, one common result.

:data:`METHODS` lists the methods by name: what ``--methods`` accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import awkward as ak

from hhh_coffea.reconstruction import chi2


@dataclass(frozen=True)
class MethodOptions:
    """Settings of the methods, as the run command takes them."""

    chi2_jets: int | None = None  # jets the pairing may choose from; 2·n_higgs when None
    chi2_mass: float = chi2.HIGGS_MASS  # GeV


@dataclass(frozen=True)
class Method:
    """A reconstruction method.

    ``reconstruct(record, n_higgs, options, definition)`` returns candidates. ``by_definition``: whether the published
    analysis ran it differently, so that ``reference`` and ``default`` need candidates of their own.
    ``fatjet_features``: what it reads of the fat jets beyond their kinematics.
    """

    reconstruct: Callable[[ak.Array, int, MethodOptions, str], ak.Array]
    by_definition: bool = False
    fatjet_features: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    "chi2": Method(lambda record, n, options, _: chi2.reconstruct(record, n, options.chi2_jets, options.chi2_mass)),
    "chi2_as_published": Method(
        lambda record, n, options, _: chi2.reconstruct_as_published(record, n, options.chi2_mass)
    ),
}


def methods_for(methods: Iterable[str], definition: str, n_higgs: int) -> list[str]:
    """Methods to evaluate in a definition: ``reference`` adds the published HH pairing beside the correct one."""
    names = list(methods)
    if definition == "reference" and n_higgs == 2 and "chi2" in names and "chi2_as_published" not in names:
        names.append("chi2_as_published")
    return names


def fatjet_features(methods: Iterable[str]) -> list[str]:
    """Fat-jet features beyond the kinematics that these methods read."""
    return sorted({feature for name in methods for feature in METHODS[name].fatjet_features})


def reconstruct(
    wanted: Mapping[str, Iterable[str]], record: ak.Array, n_higgs: int, options: MethodOptions
) -> dict[str, dict[str, ak.Array]]:
    """``{definition: methods}`` → ``{definition: {method: candidates}}``, all on the same events, none run twice.

    Raises
    ------
    ValueError
        for a method that does not exist.
    """
    made: dict[tuple[str, str], ak.Array] = {}
    found: dict[str, dict[str, ak.Array]] = {}
    for definition, names in wanted.items():
        found[definition] = {}
        for name in names:
            if name not in METHODS:
                raise ValueError(f"no method {name!r}; there are {sorted(METHODS)}")
            method = METHODS[name]
            key = (name, definition if method.by_definition else "")
            if key not in made:
                made[key] = method.reconstruct(record, n_higgs, options, definition)
            found[definition][name] = made[key]
    return found

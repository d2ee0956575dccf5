"""From the event record to Higgs candidates: one file a method, one common result.

A method is a function (record, n_higgs, options) → candidates; :data:`METHODS` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import awkward as ak

from hhh_coffea.reconstruction import chi2


@dataclass(frozen=True)
class MethodOptions:
    """Settings of the methods, as the run command takes them."""

    chi2_jets: int | None = None  # jets the pairing may choose from; 2·n_higgs when None
    chi2_mass: float = chi2.HIGGS_MASS  # GeV


Method = Callable[[ak.Array, int, MethodOptions], ak.Array]

METHODS: dict[str, Method] = {
    "chi2": lambda record, n_higgs, options: chi2.reconstruct(record, n_higgs, options.chi2_jets, options.chi2_mass),
    "chi2_as_published": lambda record, n_higgs, options: chi2.reconstruct_as_published(
        record, n_higgs, options.chi2_mass
    ),
}

# Fat-jet features of the record that each method reads beyond the kinematics.
FATJET_FEATURES: dict[str, tuple[str, ...]] = {}


def methods_for(methods: Iterable[str], definition: str, n_higgs: int) -> list[str]:
    """Methods to evaluate in a definition: ``reference`` adds the published HH pairing beside the correct one."""
    names = list(methods)
    if definition == "reference" and n_higgs == 2 and "chi2" in names and "chi2_as_published" not in names:
        names.append("chi2_as_published")
    return names


def reconstruct(methods: Iterable[str], record: ak.Array, n_higgs: int, options: MethodOptions) -> dict[str, ak.Array]:
    """Candidates of every method on the same events.

    Raises
    ------
    ValueError
        for a method that does not exist.
    """
    candidates = {}
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"no method {name!r}; there are {sorted(METHODS)}")
        candidates[name] = METHODS[name](record, n_higgs, options)
    return candidates

"""Jet identification against noise and leptons, for the versions of NanoAOD.

Criteria of the CMS JetMET group for 13 and 13.6 TeV ("JetID13p6TeV"). Version 9 stores the decision as bits, version 12
stores bits that are wrong beyond |η| = 2.7 and are mended as recommended, version 15 stores the ingredients only. The
flat arrays have one value a jet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hhh_coffea.events.nanoaod.columns import has

BoolArray = npt.NDArray[np.bool_]
Leaf = Callable[[str], npt.NDArray[Any]]  # name of a leaf, without the collection → flat values

TIGHT, TIGHT_LEPTON_VETO = 1, 2  # bits of jetId
INGREDIENTS = ("neHEF", "neEmEF", "chHEF", "chEmEF", "muEF", "chMultiplicity", "neMultiplicity")


def leaves(jet_id: str) -> tuple[str, ...]:
    """Leaves of a jet collection that a jet ID may need, in any version."""
    return () if jet_id == "none" else ("jetId", *INGREDIENTS)


def passes(events: Any, collection: str, jet_id: str, version: int, leaf: Leaf) -> BoolArray | None:
    """Which jets pass ``tight`` or ``tight_lepton_veto``; None where none is asked for.

    Raises
    ------
    KeyError
        naming a branch that the file lacks (through ``leaf``).
    """
    if jet_id == "none":
        return None
    veto = jet_id == "tight_lepton_veto"
    if not has(events, f"{collection}_jetId"):
        return from_ingredients(leaf, veto)
    bits = leaf("jetId")
    # large-radius jets of version 12 come without the ingredients of the repair, and are central anyway
    if version == 12 and has(events, f"{collection}_neHEF"):
        return from_wrong_bits(bits, leaf, veto)
    return _bit(bits, TIGHT_LEPTON_VETO if veto else TIGHT)


def from_wrong_bits(bits: npt.NDArray[Any], leaf: Leaf, lepton_veto: bool) -> BoolArray:
    """Version 12: the tight bit with the cuts that it misses."""
    abs_eta = np.abs(leaf("eta"))
    forward = np.where(abs_eta <= 3.0, leaf("neHEF") < 0.99, leaf("neEmEF") < 0.4)
    tight = _bit(bits, TIGHT) & ((abs_eta <= 2.7) | forward)
    return tight & _no_lepton(abs_eta, leaf) if lepton_veto else tight


def from_ingredients(leaf: Leaf, lepton_veto: bool) -> BoolArray:
    """Version 15: the decision from energy fractions and multiplicities."""
    abs_eta = np.abs(leaf("eta"))
    neutral_hadron, neutral_em, neutral = leaf("neHEF"), leaf("neEmEF"), leaf("neMultiplicity").astype(np.int64)
    charged = leaf("chMultiplicity").astype(np.int64)
    central = (
        (neutral_hadron < 0.99) & (neutral_em < 0.9) & (charged + neutral > 1) & (leaf("chHEF") > 0.01) & (charged > 0)
    )
    tight = np.select(
        [abs_eta <= 2.6, abs_eta <= 2.7, abs_eta <= 3.0],
        [central, (neutral_hadron < 0.9) & (neutral_em < 0.99), neutral_hadron < 0.99],
        (neutral >= 2) & (neutral_em < 0.4),
    )
    return tight & _no_lepton(abs_eta, leaf) if lepton_veto else tight


def _no_lepton(abs_eta: npt.NDArray[Any], leaf: Leaf) -> BoolArray:
    """Jets that are no misreconstructed muon or electron; beyond |η| = 2.7 none is taken for one."""
    result: BoolArray = (abs_eta > 2.7) | ((leaf("muEF") < 0.8) & (leaf("chEmEF") < 0.8))
    return result


def _bit(bits: npt.NDArray[Any], bit: int) -> BoolArray:
    result: BoolArray = ((bits >> bit) & 1).astype(bool)
    return result

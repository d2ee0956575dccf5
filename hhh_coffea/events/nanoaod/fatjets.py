"""Properties of NanoAOD large-radius jets beyond their kinematics, by their names in the event record."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from hhh_coffea.base.errors import listed
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import NanoAODOptions
from hhh_coffea.events.nanoaod.columns import flat_values, has
from hhh_coffea.events.nanoaod.names import REGRESSED_MASS, XBB, xbb_tagger
from hhh_coffea.events.record import Columns

UNKNOWN = -1.0  # where a tagger did not run, and for ratios with a zero below (as for Delphes)

# Feature → branches it may be made of. The last three exist from version 15 on.
FEATURES: dict[str, tuple[str, ...]] = {
    "softdrop_mass": ("FatJet_msoftdrop",),
    "tau21": ("FatJet_tau1", "FatJet_tau2"),
    "tau32": ("FatJet_tau2", "FatJet_tau3"),
    "xbb": tuple(branch for pair in XBB.values() for branch in pair if branch is not None),
    "regressed_mass": tuple(branch for branch, _ in REGRESSED_MASS),
    "charged_fraction": ("FatJet_chHEF", "FatJet_chEmEF", "FatJet_muEF"),
    "n_charged": ("FatJet_chMultiplicity",),
    "n_neutral": ("FatJet_neMultiplicity",),
}


def branches(wanted: Collection[str]) -> list[str]:
    """Branches that :func:`features` may read; FilesetError names a feature that NanoAOD does not have."""
    if unknown := sorted(set(wanted) - set(FEATURES)):
        raise FilesetError(
            f"NanoAOD files do not have the features {unknown} of large-radius jets; they have {listed(FEATURES)}"
        )
    return [branch for feature in wanted for branch in FEATURES[feature]]


def features(
    events: Any, columns: Columns, stored: Columns, wanted: Collection[str], options: NanoAODOptions, version: int
) -> Columns:
    """Flat columns of the wanted features.

    ``columns`` are the kinematics after corrections, ``stored`` those of the file: masses scale with the jet.

    Raises
    ------
    KeyError
        naming the branch that is missing and the feature that needs it.
    """

    def leaf(branch: str, feature: str) -> Any:
        return flat_values(events, branch, f"feature {feature!r} of large-radius jets")

    found: Columns = {}
    scale = columns["pt"] / np.where(stored["pt"] > 0, stored["pt"], 1.0)
    if "softdrop_mass" in wanted:  # −1 where grooming left nothing
        found["softdrop_mass"] = np.maximum(leaf("FatJet_msoftdrop", "softdrop_mass"), 0) * scale
    for ratio, above, below in (("tau21", "FatJet_tau2", "FatJet_tau1"), ("tau32", "FatJet_tau3", "FatJet_tau2")):
        if ratio in wanted:
            found[ratio] = _ratio(leaf(above, ratio), leaf(below, ratio))
    if "xbb" in wanted:
        signal, background = XBB[xbb_tagger(events, options, version)]
        score = leaf(signal, "xbb")
        if background is not None:
            total = score + leaf(background, "xbb")
            score = np.where((score >= 0) & (total > 0), score / np.where(total > 0, total, 1.0), UNKNOWN)
        found["xbb"] = np.where(score >= 0, score, UNKNOWN)
    if "regressed_mass" in wanted:
        branch, relative = next(((name, kind) for name, kind in REGRESSED_MASS if has(events, name)), REGRESSED_MASS[0])
        value = leaf(branch, "regressed_mass")
        mass = value * columns["mass"] if relative else value * scale
        found["regressed_mass"] = np.where(value > 0, mass, UNKNOWN)
    if "charged_fraction" in wanted:
        found["charged_fraction"] = sum(leaf(name, "charged_fraction") for name in FEATURES["charged_fraction"])
    for feature in ("n_charged", "n_neutral"):
        if feature in wanted:
            found[feature] = leaf(FEATURES[feature][0], feature)
    return found


def _ratio(above: Any, below: Any) -> Any:
    some = below > 0
    return np.where(some, above / np.where(some, below, 1), UNKNOWN)

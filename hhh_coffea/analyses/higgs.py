"""Events with several Higgs bosons that decay to b quarks: HH, HHH, and any other number up to four.

Every Higgs boson may be *resolved*, two small-radius jets, or *boosted*, one large-radius jet. ``default`` is our set of
definitions, ``reference`` that of arXiv:2412.03819, faults included (§1, §4, §5 of docs/definitions.md).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, partial

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.analyses.higgs_methods import METHODS, ONLY_TWO, PUBLISHED_PAIRING
from hhh_coffea.analyses.higgs_truth import match_each
from hhh_coffea.analyses.self_couplings import POLYNOMIALS, GeneratorError, coupling_weights
from hhh_coffea.base.arrays import counts_of, flat
from hhh_coffea.reconstruction.analysis import Analysis, Generated, Kept
from hhh_coffea.reconstruction.couplings import Couplings
from hhh_coffea.reconstruction.metrics import Category, Comparison, Counted
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.topology import Topology

MOST = 4  # Higgs bosons
RESOLVED, BOOSTED = "resolved", "boosted"


# --- our definitions: candidates that survive overlap removal count, and a Higgs boson is found as either ----------------
def _merged(c: Comparison) -> Counted:
    return Counted(c.survives, c.has(RESOLVED, BOOSTED), c.found(c.survives))


def _of(kind: str, c: Comparison) -> Counted:
    return Counted(c.survives & c.of(kind), c.has(kind), c.found(c.survives) & c.has(kind))


# --- the published ones: a Higgs boson with both targets is boosted only, and dropped candidates may find resolved ones --
def _published_found(c: Comparison) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = c.found(c.of(BOOSTED)) | (c.found(c.of(RESOLVED)) & c.first(RESOLVED, [BOOSTED]))
    return found


def _published_merged(c: Comparison) -> Counted:
    return Counted(c.survives, c.has(RESOLVED, BOOSTED), _published_found(c))


def _published_with_overlaps(c: Comparison) -> Counted:
    return Counted(np.ones_like(c.survives), c.has(RESOLVED, BOOSTED), _published_found(c))


def _published_of(kind: str, c: Comparison) -> Counted:
    return Counted(c.of(kind), c.has(kind), c.found(c.of(kind)) & c.has(kind))


def _published_resolved_only(c: Comparison) -> Counted:
    use, only = c.of(RESOLVED) & c.survives, c.first(RESOLVED, [BOOSTED])
    return Counted(use, only, c.found(use) & only)


CATEGORIES: dict[str, dict[str, Category]] = {
    "default": {"merged": _merged, BOOSTED: partial(_of, BOOSTED), RESOLVED: partial(_of, RESOLVED)},
    "reference": {
        "merged": _published_merged,
        "merged_without_overlap_removal": _published_with_overlaps,
        BOOSTED: partial(_published_of, BOOSTED),
        RESOLVED: partial(_published_of, RESOLVED),
        "resolved_after_overlap_removal": _published_resolved_only,
    },
}


@cache
def higgs(n: int) -> Analysis:
    """The analysis of events with ``n`` Higgs bosons, called ``h``, ``hh``, ``hhh`` or ``hhhh``."""

    asked = f"{n} Higgs → bb"

    def match(record: ak.Array, definitions: Collection[str], kept: Kept) -> dict[str, Targets]:
        return match_each(definitions, record, n, *kept)

    def cuts(record: ak.Array, is_signal: bool) -> dict[str, npt.NDArray[np.bool_]]:
        """In signal every Higgs boson of the event decays to b quarks."""
        return {asked: _decays(record) == n} if is_signal else {}

    return Analysis(
        name="h" * n,
        topology=_topology(n),
        kind_names=(RESOLVED, BOOSTED),
        daughter_names={RESOLVED: ("jet1", "jet2"), BOOSTED: ("fatjet",)},
        match=match,
        methods={**METHODS, **ONLY_TWO} if n == 2 else METHODS,
        definitions=("default", "reference"),
        categories=CATEGORIES,
        collections=("fatjets", "higgs"),
        cuts=cuts,
        particle="Higgs",
        symbol="H",
        classes=(BOOSTED, RESOLVED),
        most=(MOST, MOST),
        mass_range=(40, 30.0, 230.0),
        fine_mass=(BOOSTED,),
        published={"reference": PUBLISHED_PAIRING} if n == 2 else {},
        marks=_marks,
        couplings=Couplings(POLYNOMIALS[n], ("hard_higgs",), partial(_coupling_weights, n))
        if n in POLYNOMIALS
        else None,
        generated=Generated(asked, _decays, lambda number: f"set analysis: {'h' * number} (n_higgs: {number})"),
    )


def _decays(record: ak.Array) -> npt.NDArray[np.int64]:
    return counts_of(record.higgs.pt)


def _coupling_weights(n: int, record: ak.Array) -> npt.NDArray[np.float64]:
    """Coefficients of the self-couplings, from the Higgs bosons before the shower."""
    generated = record.hard_higgs
    numbers = counts_of(generated.pt)
    if (wrong := numbers[numbers != n]).size:
        raise GeneratorError(f"self-couplings: an event has {wrong[0]} generated Higgs bosons, not {n}")
    return coupling_weights(*(flat(generated[name]).reshape(-1, n) for name in ("pt", "eta", "phi", "mass")))


def _marks(record: ak.Array) -> list[tuple[int, str, float, float]]:
    """Every Higgs boson as a star, its b quarks as crosses."""
    found = []
    for number, boson in enumerate(ak.to_list(record.higgs)[0]):
        found += [(number, "x", boson[b]["eta"], boson[b]["phi"]) for b in ("b1", "b2")]
        found.append((number, "*", boson["eta"], boson["phi"]))
    return found


def _topology(n: int) -> Topology:
    """Targets h1 … of jet pairs and bh1 … of large-radius jets; h_i and bh_i are exchanged together."""
    numbers = range(1, n + 1)
    targets = [f"  h{i}: [{{b1: Jets}}, {{b2: Jets}}]" for i in numbers]
    targets += [f"  bh{i}: [{{bb: BoostedJets}}]" for i in numbers]
    exchanges = [f"    - [[h{i}, h{j}], [bh{i}, bh{j}]]" for i in numbers for j in numbers if i < j]
    lines = [
        *("INPUTS:", "  SEQUENTIAL:"),
        *("    Jets: {pt: log_normalize, eta: normalize, sinphi: none, cosphi: none, btag: none, mass: normalize}",),
        *(
            "    BoostedJets: {fj_pt: log_normalize, fj_eta: normalize, fj_sinphi: none, fj_cosphi: none, fj_mass: normalize}",
        ),
        *("EVENT:", *targets, "PERMUTATIONS:"),
        *(("  EVENT:", *exchanges) if exchanges else ()),
        *(f"  h{i}: [[b1, b2]]" for i in numbers),
    ]
    return Topology.from_text("\n".join(lines), f"analysis {'h' * n!r}")


ANALYSES = {"h" * n: partial(higgs, n) for n in range(1, MOST + 1)}

"""The methods for events with several Higgs bosons, among them those of arXiv:2412.03819 as they were published."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import awkward as ak
import numpy as np

from hhh_coffea.base.arrays import IntArray, counts_of
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.events.record import momentum
from hhh_coffea.methods import bdt, chi2, mass_line
from hhh_coffea.methods.mass_line import MassLineOptions
from hhh_coffea.methods.method import SPANET, Candidates, Method, SharedWork, bdt_features
from hhh_coffea.reconstruction.candidates import make_candidates
from hhh_coffea.topology.kinds import Kind


def chi2_pairs(shared: SharedWork) -> ak.Array:
    """Candidates of the χ² pairing alone; made once for all methods that want them."""
    options = shared.options
    return shared.once(
        "pairs", lambda: chi2.reconstruct(shared.record, _resolved(shared), options.chi2_jets, options.chi2_mass)
    )


def pairs_as_published(record: ak.Array, kind: Kind, mass: float = chi2.MASS) -> ak.Array:
    """The published baseline, its fault for two Higgs bosons included.

    For HH the published code sums χ² over THREE different pairs that together cover the four jets (16 such triples)
    and takes the first two of them, which often share a jet (§3). For HHH it is :func:`.chi2.reconstruct`.
    """
    if len(kind.members) != 2:
        return chi2.reconstruct(record, kind, mass=mass)
    momenta, counts = momentum(record.jets), counts_of(record.jets.pt)
    pairs = chi2.chosen_pairs(momenta, counts, 2, None, lambda table, _: _first_two_of_three(table), mass)
    return make_candidates(record, kind, pairs)


def _first_two_of_three(chi2: FloatArray) -> IntArray:
    pairs = np.array(list(combinations(range(4), 2)))
    triples = np.array([t for t in combinations(range(6), 3) if len(set(pairs[list(t)].ravel())) == 4])
    best = np.argmin(chi2[triples[:, 0]] + chi2[triples[:, 1]] + chi2[triples[:, 2]], axis=0)
    chosen: IntArray = pairs[triples[best, :2]]
    return chosen


def _resolved(shared: SharedWork) -> Kind:
    return shared.analysis.kinds["resolved"]


def _published_pairs(shared: SharedWork) -> ak.Array:
    return shared.once(
        "published pairs", lambda: pairs_as_published(shared.record, _resolved(shared), shared.options.chi2_mass)
    )


def _chi2(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    return dict.fromkeys(definitions, chi2_pairs(shared))


def _chi2_as_published(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    return dict.fromkeys(definitions, _published_pairs(shared))


def _chi2_bdt(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    record, options, kinds = shared.record, shared.options, shared.analysis.kinds
    boosted, resolved = kinds["boosted"], kinds["resolved"]
    found = {}
    for definition in definitions:
        if definition == "reference":
            pairs = chi2_pairs(shared)
            found[definition] = bdt.reconstruct_reference(record, shared.scores, options.bdt_cut, boosted, pairs)
        else:
            chi2_options = options.chi2_jets, options.chi2_mass
            found[definition] = bdt.reconstruct(
                record, shared.scores, options.bdt_cut, boosted, resolved, *chi2_options
            )
    return found


def _chi2_bdt_as_published(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    boosted, pairs = shared.analysis.kinds["boosted"], _published_pairs(shared)
    found = bdt.reconstruct_reference(shared.record, shared.scores, shared.options.bdt_cut, boosted, pairs)
    return dict.fromkeys(definitions, found)


def _mass_line(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    """D_HH, the pairing of the CMS Run 2 search."""
    options = MassLineOptions.model_validate(shared.options.settings.get("dhh", {}))
    jets = shared.record.jets
    pairs = mass_line.pairs(momentum(jets), counts_of(jets.pt), options)
    return dict.fromkeys(definitions, make_candidates(shared.record, _resolved(shared), pairs))


METHODS: dict[str, Method] = {
    "chi2": Method(_chi2),
    "chi2_as_published": Method(_chi2_as_published),
    "chi2+bdt": Method(_chi2_bdt, bdt_features, "bdt"),
    "chi2+bdt_as_published": Method(_chi2_bdt_as_published, bdt_features, "bdt"),
    **SPANET,
}
ONLY_TWO = {"dhh": Method(_mass_line, settings=MassLineOptions)}  # methods for two Higgs bosons
# In the published definitions the pairing of HH is shown as it was published, beside the correct one
PUBLISHED_PAIRING = {"chi2": "chi2_as_published", "chi2+bdt": "chi2+bdt_as_published"}

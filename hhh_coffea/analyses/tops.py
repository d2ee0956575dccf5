"""Semi-leptonic tt̄ and ttH, as in M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886 (docs/tops.md).

Targets are t_H (``ht``: b and two light quarks), t_L (``lt``: b; lepton and neutrino belong to it) and H (``h``: two b).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, partial

import awkward as ak
import numpy as np

from hhh_coffea.analyses import tops_objects, tops_truth
from hhh_coffea.analyses.tops_kinematics import leptonic_w
from hhh_coffea.analyses.tops_published import table_1
from hhh_coffea.analyses.tops_quantities import COMPLEX, REAL, quantities
from hhh_coffea.base.arrays import IntArray, counts_of, flat, true_in_event
from hhh_coffea.base.kinematics import Cartesian, FloatArray, cartesian, invariant_mass
from hhh_coffea.events.record import momentum
from hhh_coffea.events.tops import HADRONIC
from hhh_coffea.methods.chi2_tops import TopChi2Options, assign
from hhh_coffea.methods.likelihood_options import LikelihoodOptions
from hhh_coffea.methods.method import Candidates, Method, SharedWork, spanet_method
from hhh_coffea.methods.pdnn_options import PdnnOptions
from hhh_coffea.reconstruction.analysis import Analysis, Generated, Kept, Masks
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.reconstruction.targets import Targets
from hhh_coffea.topology.kinds import kinds_of
from hhh_coffea.topology.topology import Topology

EVENT = """
INPUTS:
  SEQUENTIAL:
    Jets: {{pt: log_normalize, eta: normalize, sinphi: none, cosphi: none, btag: none, mass: log_normalize}}
EVENT:
  ht: [b, q1, q2]
  lt: [b]
{higgs}
PERMUTATIONS:
  ht: [[q1, q2]]
{exchange}
"""
LABELS = {"event": "Event", "ht": "$t_H$", "w": "$W$ of $t_H$", "lt": "$t_L$", "h": "$H$"}
LABELS |= {REAL: "real solutions", COMPLEX: "complex solutions"}
GENERATED = "semi-leptonic tt̄"  # the cut on the truth of signal
JET_BINS = {"ttbar": (4, 5, 6), "tth": (6, 7, 8)}  # multiplicities of Table 1; the last stands for all above


def _leptonic_w(record: ak.Array) -> Cartesian:
    return summed(*leptonic_w(record))


def _chi2(shared: SharedWork, definitions: Collection[str]) -> Candidates:
    """χ² assignment: every event that passes the selection gets a candidate of each kind, with −χ² as its score."""
    record, analysis = shared.record, shared.analysis
    options = TopChi2Options.model_validate(shared.options.settings.get("chi2", {}))
    jets, kinds = record.jets, analysis.kinds
    w = _leptonic_w(record)
    found = assign(momentum(jets), flat(jets.btag), counts_of(jets.pt), w, "h" in kinds, options)
    score = {"score": -found.chi2[:, None]}
    parts = [analysis.candidates(record, name, found.objects[name][:, None], outputs=score) for name in kinds]
    return dict.fromkeys(definitions, ak.concatenate(parts, axis=1))


class LikelihoodSettings(LikelihoodOptions):
    """Those of the kinematic fit, and the transfer functions."""

    transfer_functions: str = "transfer_functions_delphes"


def _likelihood(shared: SharedWork, definitions: Collection[str]) -> Candidates:
    """Kinematic likelihood fit: the permutation of greatest likelihood, its probability and, as score, its ln L."""
    from hhh_coffea.methods import likelihood  # needs torch

    record, analysis = shared.record, shared.analysis
    given = {"higgs": "h" in analysis.kinds, **shared.options.settings.get("likelihood", {})}
    options = LikelihoodSettings.model_validate(given)
    functions = likelihood.read_transfer_functions(options.transfer_functions)
    found = likelihood.assign(record, functions, options)
    probability, score = np.nan_to_num(found.probability)[:, None], found.log_likelihood[:, None]
    parts = [
        analysis.candidates(record, name, found.objects[name][:, None], probability, outputs={"score": score})
        for name in analysis.kinds
    ]
    return dict.fromkeys(definitions, ak.concatenate(parts, axis=1))


def _pdnn(shared: SharedWork, definitions: Collection[str]) -> Candidates:
    """Permutation network: the permutation of greatest score, with its probability among all of the event."""
    from hhh_coffea.methods import pdnn  # needs torch

    found = pdnn.reconstruct(shared.record, shared.options.pdnn_for(shared.analysis), shared.analysis)
    return dict.fromkeys(definitions, found)


def _semileptonic(record: ak.Array, is_signal: bool) -> Masks:
    cuts = {**tops_objects.finite_met(record), "1 lepton": counts_of(record.leptons.pt) == 1}
    if not is_signal:
        return cuts
    decay, counts = flat(record.tops.decay), counts_of(record.tops.decay)
    both = (counts == 2) & (true_in_event(decay == HADRONIC, counts) == 1) & (_leptonic(record) == 1)
    return {GENERATED: both, **cuts}


def _leptonic(record: ak.Array) -> IntArray:
    """Top quarks of each event whose W boson decays to leptons."""
    return true_in_event(flat(record.tops.decay) > HADRONIC, counts_of(record.tops.decay))


def _btags(record: ak.Array, _: bool) -> Masks:
    return {f"≥ {tops_objects.MIN_BTAGS} b tags": tops_objects.count_btags(record) >= tops_objects.MIN_BTAGS}


def _match(record: ak.Array, definitions: Collection[str], _: Kept) -> dict[str, Targets]:
    return dict.fromkeys(definitions, tops_truth.match(record, tops_truth.truth(record)))


def _marks(record: ak.Array, names: tuple[str, ...]) -> list[tuple[int, str, float, float]]:
    """Top quarks and the Higgs boson as stars, their quarks as crosses, lepton and neutrino as triangles."""
    parts = tops_truth.truth(record).particles
    daughters = {"ht": ("ht_b", "q1", "q2"), "lt": ("lt_b",), "h": ("b1", "b2")}
    found = []
    for number, name in enumerate(names):
        shown = [(own, "x") for own in daughters[name]] + [(name, "*")]
        shown += [("lepton", "^"), ("neutrino", "v")] if name == "lt" else []
        found += [(number, mark, float(parts[n]["eta"][0]), float(parts[n]["phi"][0])) for n, mark in shown]
    return [mark for mark in found if np.isfinite(mark[2])]


def _neutrino_eta(record: ak.Array) -> FloatArray:
    """η of the W boson's own neutrino."""
    return tops_truth.truth(record).particles["neutrino"]["eta"]


def _log_mtt(record: ak.Array) -> FloatArray:
    """ln of the generated m(tt̄) in GeV."""
    parts = tops_truth.truth(record).particles
    both = [cartesian(*(parts[top][name] for name in ("pt", "eta", "phi", "mass"))) for top in ("ht", "lt")]
    return np.log(invariant_mass(summed(*both)))


def _is_signal(record: ak.Array, is_signal: bool) -> IntArray:
    """1 in signal, 0 in background."""
    return np.full(len(record), int(is_signal))


@cache
def semileptonic(process: str) -> Analysis:
    """The analysis ``ttbar_semileptonic`` or ``tth_semileptonic``, for ``process`` ttbar or tth."""
    higgs = process == "tth"
    names = ("ht", "lt", "h") if higgs else ("ht", "lt")
    text = EVENT.format(higgs="  h: [b1, b2]" if higgs else "", exchange="  h: [[b1, b2]]" if higgs else "")
    topology = Topology.from_text(text, f"analysis '{process}_semileptonic'")
    return Analysis(
        name=f"{process}_semileptonic",
        topology=topology,
        match=_match,
        methods={
            "chi2": Method(_chi2, settings=TopChi2Options),
            "likelihood": Method(_likelihood, settings=LikelihoodSettings),
            "pdnn": Method(_pdnn, needs="pdnn", settings=PdnnOptions),
            # every particle gets an assignment, whether the network thinks that it can be found or not
            "spanet": spanet_method("all"),
            "spanet:greedy": spanet_method("greedy:0"),
        },
        collections=(*tops_objects.COLLECTIONS, *(("higgs",) if higgs else ())),
        refine=tops_objects.central,
        cuts=_semileptonic,
        late_cuts=_btags,
        min_jets=tops_objects.MIN_JETS[process],
        max_jets=20,
        beyond={"lt": _leptonic_w},
        classes=("ht", "lt", "h"),
        most=(3, 1),
        jet_bins=JET_BINS[process],
        marks=partial(_marks, names=names),
        generated=Generated(GENERATED, _leptonic, lambda _: "it is background here: set is_signal: false"),
        quantities=quantities(kinds_of(topology)),
        labels=LABELS,
        published_assignments=table_1(process),
        regressions={"EVENT/neutrino_eta": _neutrino_eta, "EVENT/log_mtt": _log_mtt},
        classifications={"EVENT/signal": _is_signal},
        outputs=(
            "score",
            "assignment_entropy",
            "event_score",
            "neutrino_eta",
            "log_mtt",
            *(("signal",) if higgs else ()),
        ),
    )


ANALYSES = {f"{process}_semileptonic": partial(semileptonic, process) for process in ("ttbar", "tth")}

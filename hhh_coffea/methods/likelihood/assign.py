"""The kinematic fit on the event record: record in, jets of each target and numbers per event out."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.base.arrays import IntArray, counts_of, flat, padded
from hhh_coffea.base.kinematics import Cartesian, FloatArray
from hhh_coffea.events.record import field
from hhh_coffea.methods.chi2_tops import PATTERNS
from hhh_coffea.methods.likelihood.events import LeptonJets
from hhh_coffea.methods.likelihood.fit import Permutations, fit
from hhh_coffea.methods.likelihood.transfer_file import TransferFunctions
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

BoolArray = npt.NDArray[np.bool_]
PURPOSE = "the kinematic likelihood fit"


class LikelihoodAssignment(NamedTuple):
    """The best permutation of each of N events; GeV.

    ``objects`` and ``energies`` by target: ``ht (N, 3)`` as b, q1, q2, ``lt (N, 1)``, ``h (N, 2)``: positions in
    ``record.jets`` and fitted energies. Events without an assignment have −1, False and NaN.
    """

    objects: dict[str, IntArray]
    log_likelihood: FloatArray  # (N,), at the maximum; b tags are not in it
    probability: FloatArray  # (N,), of this permutation among all of the event, b tags included
    energies: dict[str, FloatArray]
    lepton_energy: FloatArray  # (N,)
    neutrino: Cartesian  # (N,) each
    top_mass: FloatArray  # (N,), of the fit: fixed, or where it is free the fitted one
    converged: BoolArray
    at_limit: BoolArray  # a fitted energy is at the end of its range
    n_permutations: IntArray  # (N,), with a finite fit and not vetoed
    permutations: list[Permutations]  # all of them, where asked for


def events_of(record: ak.Array, device: str | torch.device = "cpu") -> LeptonJets:
    """What the fit reads of a record of events with one lepton each: ``jets``, ``leptons``, ``met``, ``sum_et``.

    Raises
    ------
    ValueError
        if an event does not have exactly one lepton, or a number is not finite.
    """
    jets, leptons = record.jets, field(record, "leptons", PURPOSE)
    met, sum_et = field(record, "met", PURPOSE), field(record, "sum_et", PURPOSE)
    if not (counts_of(leptons.pt) == 1).all():
        raise ValueError(f"{PURPOSE}: there are events without or with several leptons (not selected)")
    counts = counts_of(jets.pt)
    slots = int(counts.max(initial=0))
    columns = [padded(flat(jets[name]).astype(np.float64), counts, slots, 0.0) for name in ("pt", "eta", "phi", "mass")]
    return LeptonJets.of(
        np.stack(columns, axis=-1),
        padded(flat(jets.btag) > 0, counts, slots, False),
        np.arange(slots) < counts[:, None],
        np.stack([flat(leptons[name]).astype(np.float64) for name in ("pt", "eta", "phi", "flavor")], axis=-1),
        np.stack([np.asarray(ak.to_numpy(v), dtype=np.float64) for v in (met.pt, met.phi, sum_et)], axis=-1),
        device,
    )


def assign(
    record: ak.Array,
    functions: TransferFunctions,
    options: LikelihoodOptions | None = None,
    *,
    permutations: bool = False,
    device: str | torch.device = "cpu",
) -> LikelihoodAssignment:
    """The permutation of greatest likelihood × b-tag factors of each event of a record, and what was fitted.

    Parameters
    ----------
    record
        selected events: exactly one lepton each (:mod:`hhh_coffea.analyses.tops_objects`); jets in any order
    functions
        transfer functions, from :func:`.read_transfer_functions`
    options
        ``LikelihoodOptions(higgs=True)`` for ttH; the defaults are for tt̄ with the top mass fixed at 173 GeV
    permutations
        also return every permutation; ``Permutations.jets`` holds b_had, q1, q2, b_lep [, b1, b2]
    device
        of torch: ``cpu`` uses one core, ``cuda`` a GPU

    Raises
    ------
    ValueError
        if an event does not have exactly one lepton, or a number is not finite.
    UserError
        if the b-tag treatment is the working point and ``functions`` have no rates for it.
    """
    options = options or LikelihoodOptions()
    found = fit(events_of(record, device), functions, options, permutations=permutations)
    names = ("ht", "lt", "h") if options.higgs else ("ht", "lt")

    def numpy(tensor: Tensor) -> Any:
        return tensor.cpu().numpy()

    ends = np.cumsum([PATTERNS[name].degree for name in names])[:-1]
    size = found.neutrino.square().sum(1).sqrt()
    return LikelihoodAssignment(
        objects=dict(zip(names, np.split(numpy(found.jets), ends, axis=1), strict=True)),
        log_likelihood=numpy(found.log_likelihood),
        probability=numpy(found.probability),
        energies=dict(zip(names, np.split(numpy(found.energies), ends, axis=1), strict=True)),
        lepton_energy=numpy(found.lepton_energy),
        neutrino=Cartesian(*(numpy(v) for v in (size, *found.neutrino.unbind(1)))),
        top_mass=numpy(found.top_mass),
        converged=numpy(found.converged),
        at_limit=numpy(found.at_limit),
        n_permutations=numpy(found.n_permutations),
        permutations=found.permutations,
    )

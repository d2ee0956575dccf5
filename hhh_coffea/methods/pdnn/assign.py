"""The permutation network on the event record: record in, jets of each target and a score per event out."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.methods.pdnn.inputs import events_of
from hhh_coffea.methods.pdnn.model import PdnnModel
from hhh_coffea.methods.pdnn.network import table
from hhh_coffea.methods.spanet_model import device_of, lock
from hhh_coffea.topology.assignments import split
from hhh_coffea.topology.kinds import NONE

EVENTS = 2048  # whose scores are in memory together: 5,040 of each at most


class Permutations(NamedTuple):
    """All permutations of the events with one number of offered jets."""

    events: IntArray  # (M,): positions among the input events
    jets: IntArray  # (P, K): objects of all targets side by side, positions among the offered jets
    offered: IntArray  # (M, n): positions of the offered jets in the jets of the record
    logits: FloatArray  # (M, P)


class PdnnAssignment(NamedTuple):
    """The best permutation of each of N events.

    ``objects`` by target of the model's topology, ``(N, k)``: positions in ``record.jets``. Events with too few jets
    have −1 and NaN.
    """

    objects: dict[str, IntArray]
    score: FloatArray  # (N,): sigmoid of the greatest logit
    probability: FloatArray  # (N,): of this permutation among all of the event: softmax of the logits
    n_permutations: IntArray  # (N,)
    permutations: list[Permutations]  # all of them, where asked for


def assign(record: ak.Array, model: PdnnModel, *, permutations: bool = False) -> PdnnAssignment:
    """The permutation of greatest score of each event.

    Parameters
    ----------
    record
        selected events: exactly one lepton each; jets in any order
    model
        from :func:`.load_model`; it says where it runs
    permutations
        also return the logits of every permutation (5,040 per event of ttH with 8 jets)

    Raises
    ------
    ValueError
        if an event does not have exactly one lepton, or a number is not finite.
    """
    network, device = model.network(), device_of(model.device)
    layout, targets = network.layout, model.topology.targets
    events = events_of(record, model.card.max_jets)
    n = len(events)
    chosen = np.full((n, layout.n_slots), NONE, dtype=np.int64)
    score, probability = np.full(n, np.nan), np.full(n, np.nan)
    n_permutations = np.zeros(n, dtype=np.int64)
    every: list[Permutations] = []
    with lock(str(device)), torch.inference_mode():
        for n_jets in np.unique(events.counts[events.counts >= layout.n_slots]).tolist():
            found = table(layout, n_jets, device)
            objects = found.objects.cpu().numpy()
            same = np.flatnonzero(events.counts == n_jets)
            for rows in np.split(same, range(EVENTS, len(same), EVENTS)):
                here = events.rows(rows)
                logits = network.scores(here.to(device), n_jets).double()
                greatest, best = logits.max(1)
                order = here.order[:, :n_jets]
                chosen[rows] = np.take_along_axis(order, objects[_numpy(best)], 1)
                score[rows] = _numpy(greatest.sigmoid())
                probability[rows] = _numpy((greatest - logits.logsumexp(1)).exp())
                n_permutations[rows] = len(objects)
                if permutations:
                    every.append(Permutations(rows, objects, order, _numpy(logits)))
    by_target = split(chosen, layout.targets)
    return PdnnAssignment(
        {target.name: own.astype(np.int64) for target, own in zip(targets, by_target, strict=True)},
        score,
        probability,
        n_permutations,
        every,
    )


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()

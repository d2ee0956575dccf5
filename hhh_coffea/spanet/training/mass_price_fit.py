"""Prices on masses such that a network's candidates in background look more like random pairs of the same jets.

The decoding subtracts the price on its mass from the log-odds that a candidate is right (:mod:`..decoding.mass_price`). Prices
with slopes up to 1 are the witnesses of the earth mover's distance (EMD, GeV) between the masses of the candidates in background
and those of random pairs of the same jets, by the Kantorovich–Rubinstein duality; so the price is found by projected ascent on
them: its slope grows at the masses above which there are too many candidates, falls where there are too few, and stays within
the bound ``slope`` (ln odds per GeV). Bound 0 is no price at all; the larger it is, the smaller the distance, at the cost of
correct assignments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.base.mass_measures import RANGES, earth_movers_distance
from hhh_coffea.spanet.checkpoint import SPANet
from hhh_coffea.spanet.decoding.candidates import Decoded, spans
from hhh_coffea.spanet.decoding.decode import expected
from hhh_coffea.spanet.decoding.mass_price import MassPrice
from hhh_coffea.spanet.decoding.masses import NODE_MASSES, NODE_WIDTH, NODES, four_momenta, squared_masses
from hhh_coffea.spanet.network.interpretations import overlaps_of
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.training.batches import forward_in_groups, make_batch, reordered
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.topology.topology import Topology, pairs_and_singles

FloatArray = npt.NDArray[np.float64]
ROUNDS, STEP, SLOWER = 30, 2.0, 0.9  # of the bound; the steps of all rounds add up to 20 bounds
WINDOW = "30-225"  # GeV: where masses are compared; the price is constant beyond
# GeV: a boosted candidate is compared with the large-radius jets of its bin of pT, from 200 to 1000 and beyond each end
PT_MIN, PT_WIDTH, PT_BINS = 200.0, 25.0, 34
BATCH = 2048


@dataclass(frozen=True)
class _Part:
    """A batch of background events, its outputs and what does not change from round to round."""

    outputs: Outputs
    inputs: list[Tensor]
    masks: list[Tensor]
    lengths: list[int]
    near: Tensor | None
    weight: FloatArray  # (B)


def fit(
    model: SPANet,
    data: TrainingData,
    slope: float,
    say: Callable[[str], None] = lambda _: None,
    window: str = WINDOW,
) -> tuple[MassPrice, dict[str, Any]]:
    """Find the price for expected decoding, one for all targets, and how far from random the masses then are.

    ``data`` is background alone; every event is read and its outputs are held (1.5 kB an event for HHH). ``slope`` bounds
    \\|d price/d mass\\| in 1/GeV. The price averages 0 over the candidates taken without one. Returns it with
    ``{"slope_per_gev", "events", "candidates", "candidates_before", "emd_gev", "emd_before_gev"}``, the distance over
    the ``window`` (:data:`RANGES`, GeV) on these very events.
    ValueError for a slope that is not positive, for data of another topology, for events with a true target or no
    candidate at all, and where the topology is of other targets than pairs and single objects.
    """
    topology = model.topology
    if not slope > 0:
        raise ValueError(f"slope must be positive, not {slope}")
    if data.topology.text != topology.text:
        raise ValueError(f"{data.path}: its topology is not that of the model")
    pairs_and_singles(topology)
    parts = _evaluate(model, data)
    price, course = np.zeros(NODES), []
    before = found = random = price
    for turn in range(ROUNDS + 1):
        found, random = _spectra(parts, _price(price, topology), topology)
        course.append((float(found.sum()), distance(found, random, window)))
        if turn % 5 == 0:
            say(f"round {turn}/{ROUNDS}: {course[-1][0]:,.0f} candidates, {course[-1][1]:.2f} GeV from random pairing")
        if turn == 0:
            before = found
        if not (found * inside(window)).sum() > 0:
            raise ValueError(f"{data.path}: the model finds no candidate within {window} GeV in it")
        if turn < ROUNDS:
            price = stepped(price, found, random, slope, STEP * SLOWER**turn, window)
            price -= (price * before).sum() / before.sum()
    first, last = course[0], course[-1]
    report = {"slope_per_gev": slope, "events": len(data)} | ({"window_gev": window} if window != WINDOW else {})
    report |= {"candidates_before": round(first[0], 1), "candidates": round(last[0], 1)}
    return _price(price, topology), report | {"emd_before_gev": round(first[1], 3), "emd_gev": round(last[1], 3)}


def stepped(
    price: FloatArray, found: FloatArray, random: FloatArray, slope: float, step: float, window: str = WINDOW
) -> FloatArray:
    """One step of the ascent: steeper where more of ``found`` than of ``random`` lies above; all ``(NODES)``."""
    excess_above = np.cumsum(_normalised(random, window) - _normalised(found, window))[:-1]
    most = slope * NODE_WIDTH
    rises = (np.diff(price) + step * most * excess_above).clip(-most, most)
    moved: FloatArray = np.concatenate([[0.0], np.cumsum(rises)])
    return moved


def distance(found: FloatArray, random: FloatArray, window: str = WINDOW) -> float:
    """Earth mover's distance (GeV) of two spectra ``(NODES)``, each normalised within the window."""
    return float(earth_movers_distance(_normalised(found, window), _normalised(random, window)))


def inside(window: str) -> npt.NDArray[np.bool_]:
    """Which nodes are within a window of :data:`RANGES`."""
    low, high = RANGES[window]
    return (low <= NODE_MASSES) & (high >= NODE_MASSES)


def _normalised(spectrum: FloatArray, window: str) -> FloatArray:
    within: FloatArray = spectrum * inside(window)
    normalised: FloatArray = within / max(within.sum(), 1e-30)
    return normalised


def _price(price: FloatArray, topology: Topology) -> MassPrice:
    rounded = tuple(float(f"{x:.6g}") for x in price)
    return MassPrice(dict.fromkeys(topology.target_names, rounded))


@torch.inference_mode()
def _evaluate(model: SPANet, data: TrainingData) -> list[_Part]:
    model.eval()
    topology, parts = model.topology, []
    mean = max(float(np.mean(data.column("weight"))), 1e-30)
    for start in range(0, len(data), BATCH):
        batch = make_batch(data.rows(np.arange(start, min(start + BATCH, len(data)))), topology, torch.device("cpu"))
        if any(bool(present.any()) for present in batch.truth.present.values()):
            raise ValueError(f"{data.path}: holds events with true targets; the price is made from background alone")
        outputs, order = forward_in_groups(model, batch, 4)
        batch = reordered(batch, order)
        near = overlaps_of(topology, batch.inputs, batch.masks)
        lengths = [x.shape[1] for x, i in zip(batch.inputs, topology.inputs, strict=True) if i.kind == "sequential"]
        weight = batch.weight.double().numpy() / mean
        parts.append(_Part(outputs, batch.inputs, batch.masks, lengths, near, weight))
    return parts


@torch.inference_mode()
def _spectra(parts: list[_Part], price: MassPrice, topology: Topology) -> tuple[FloatArray, FloatArray]:
    """Masses of the candidates chosen at this price, and of random ones in their place: weight by node, ``(NODES)``."""
    found, random = np.zeros(NODES), np.zeros(NODES)
    decoded = []
    for part in parts:
        prices = price.of_assignments(part.outputs, part.inputs, topology)
        decoded.append(expected(part.outputs, topology, part.lengths, part.near, prices=prices))
    for members in topology.symmetric_classes:
        chosen, drawn = _class_spectra(parts, decoded, list(members), topology)
        found, random = found + chosen, random + drawn
    return found, random


def _class_spectra(
    parts: list[_Part], decoded: list[Decoded], members: list[int], topology: Topology
) -> tuple[FloatArray, FloatArray]:
    """:func:`_spectra` of the targets ``members``, which the event group exchanges."""
    target = topology.targets[members[0]]
    source = target.sources[0]
    found, random = np.zeros(NODES), np.zeros(NODES)
    taken, there = np.zeros(PT_BINS), np.zeros((PT_BINS, NODES))  # of all batches: shares are of the whole background
    for part, choice in zip(parts, decoded, strict=True):
        first, stop = spans(topology, part.lengths)[source]
        mass = squared_masses(part.inputs, topology, target, [stop - first] * target.degree).clamp_min(0).sqrt().numpy()
        mask = next(m for m, i in zip(part.masks, topology.inputs, strict=True) if i.name == source).numpy()
        selected = choice.selected[:, members].numpy()  # (B, m)
        objects = choice.objects[:, members, : target.degree].numpy() - first
        event, column = np.nonzero(selected)
        place = (event, *objects[event, column].T)
        found += _histogram(mass[place], part.weight[event])
        if target.degree == 1:
            bins = _pt_bins(part, topology, source)
            taken += np.bincount(bins[place], weights=part.weight[event], minlength=PT_BINS)
            rows = np.nonzero(mask)[0]
            cell = bins[mask] * NODES + _nodes(mass[mask])
            there += np.bincount(cell, weights=part.weight[rows], minlength=PT_BINS * NODES).reshape(PT_BINS, NODES)
            continue
        usable = mask & ~_overlapping(part, choice, topology)
        # every pair of usable jets is as likely as any other to be among k disjoint random ones
        i, j = np.triu_indices(stop - first, 1)
        pairs = usable[:, i] & usable[:, j]  # (B, pairs)
        share = selected.sum(1) / pairs.sum(1).clip(1) * part.weight
        row, pair = np.nonzero(pairs & (share > 0)[:, None])
        random += _histogram(mass[row, i[pair], j[pair]], share[row])
    if target.degree == 1:  # all large-radius jets, in each bin of pT as many as there are candidates
        total = there.sum(axis=1)
        random = np.divide(taken, total, out=np.zeros(PT_BINS), where=total > 0) @ there
    return found, random


def _overlapping(part: _Part, decoded: Decoded, topology: Topology) -> npt.NDArray[np.bool_]:
    """Jets near a chosen large-radius jet, which no pair may use: ``(B, N)``, or False without large-radius jets."""
    if part.near is None:
        return np.array(False)
    boosted = pairs_and_singles(topology)[1]
    first = spans(topology, part.lengths)[topology.targets[boosted[0]].sources[0]][0]
    chosen = decoded.objects[:, boosted, 0] - first  # (B, n)
    near = part.near.take_along_dim(chosen.clamp_min(0).unsqueeze(1), dim=2)  # (B, N, n)
    return (near & (chosen >= 0).unsqueeze(1)).any(2).numpy()


def _pt_bins(part: _Part, topology: Topology, source: str | None) -> npt.NDArray[np.int64]:
    """Bin of pT of each large-radius jet ``(B, N)``, those of the sculpting job: the first and last have all beyond."""
    _, x, y, _ = four_momenta(part.inputs, topology, source)
    bins = np.floor((torch.hypot(x, y).numpy() - PT_MIN) / PT_WIDTH)
    return (bins.clip(-1, PT_BINS - 2) + 1).astype(np.int64)


def _nodes(mass: FloatArray) -> npt.NDArray[np.int64]:
    return np.rint(mass / NODE_WIDTH).clip(0, NODES - 1).astype(np.int64)


def _histogram(mass: FloatArray, weight: FloatArray) -> FloatArray:
    return np.bincount(_nodes(mass), weights=weight, minlength=NODES).astype(np.float64)

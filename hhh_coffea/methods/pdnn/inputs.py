"""What the permutation network sees: numbers of each jet, of the event, and masses of the jets that a target is given.

The jets of an event stand by falling pT. So the first of all equivalent assignments, which is the one in the table of
:mod:`hhh_coffea.topology.assignments`, has exchangeable jets in that order, and q1 ↔ q2 makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hhh_coffea.base.arrays import IntArray, counts_of, flat, padded
from hhh_coffea.base.kinematics import cartesian
from hhh_coffea.events.record import field
from hhh_coffea.methods.neutrino import massless, neutrino
from hhh_coffea.reconstruction.composites import summed
from hhh_coffea.topology.assignments import Pattern, patterns
from hhh_coffea.topology.topology import Permutation, Topology

PURPOSE = "the permutation network"
JET = ("log_pt", "log_mass", "eta", "cos_phi", "sin_phi", "btag")  # φ is measured from the lepton
EVENT = ("lepton_log_pt", "lepton_eta", "lepton_flavor", "met_log", "met_cos_phi", "met_sin_phi")
# what changes sign if the event is mirrored: y → −y in the frame of the lepton, and z → −z
MIRRORED = {"phi": ("sin_phi", "met_sin_phi"), "eta": ("eta", "lepton_eta")}
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Events:
    """Inputs of N events with at most J jets, by falling pT; numpy arrays, or tensors on one device."""

    jets: Any  # (N, J, 6): JET
    momenta: Any  # (N, J, 4): energy, px, py, pz (GeV)
    event: Any  # (N, 6): EVENT
    lepton: Any  # (N, 2, 4): of the lepton, and of lepton and neutrino together (GeV)
    counts: Any  # (N,): jets that are there
    order: Any  # (N, J): their positions in the jets of the record, −1 beyond

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, chosen: Any) -> Events:
        """Only these events."""
        return Events(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def to(self, device: str | torch.device) -> Events:
        """Numpy arrays as tensors on a device."""
        return Events(*(torch.as_tensor(getattr(self, f.name), device=device) for f in fields(self)))


def events_of(record: ak.Array, max_jets: int) -> Events:
    """Inputs of a record of events with one lepton each: at most ``max_jets`` jets, b-tagged ones first, then by pT.

    Raises
    ------
    ValueError
        if an event does not have exactly one lepton, or a number is not finite.
    """
    leptons, met = field(record, "leptons", PURPOSE), field(record, "met", PURPOSE)
    if not (counts_of(leptons.pt) == 1).all():
        raise ValueError(f"{PURPOSE}: there are events without or with several leptons (not selected)")
    lepton = {name: flat(leptons[name]).astype(np.float64) for name in ("pt", "eta", "phi", "flavor")}
    met_pt, met_phi = (np.asarray(ak.to_numpy(v), dtype=np.float64) for v in (met.pt, met.phi))
    counts = counts_of(record.jets.pt)
    slots = int(counts.max(initial=0))
    columns = {
        name: padded(flat(record.jets[name]).astype(np.float64), counts, slots, 0.0)
        for name in ("pt", "eta", "phi", "mass", "btag")
    }
    visible = massless(*(lepton[n] for n in ("pt", "eta", "phi")))
    leptonic_w = summed(visible, neutrino(visible, met_pt, met_phi))
    order = _offered(columns["pt"], columns["eta"], columns["btag"] > 0, counts, max_jets)
    there = order >= 0
    jet = {name: np.where(there, np.take_along_axis(v, np.maximum(order, 0), 1), 0) for name, v in columns.items()}
    angle, met_angle = jet["phi"] - lepton["phi"][:, None], met_phi - lepton["phi"]
    jets = [np.log1p(jet["pt"]), np.log1p(np.maximum(jet["mass"], 0)), jet["eta"], np.cos(angle), np.sin(angle)]
    event = [np.log1p(lepton["pt"]), lepton["eta"], lepton["flavor"]]
    event += [np.log1p(met_pt), np.cos(met_angle), np.sin(met_angle)]
    found = Events(
        np.where(there[..., None], np.stack([*jets, jet["btag"] > 0], axis=-1), 0).astype(np.float32),
        np.stack(cartesian(*(jet[n] for n in ("pt", "eta", "phi", "mass"))), axis=-1).astype(np.float32),
        np.stack(event, axis=-1).astype(np.float32),
        np.stack([np.stack(p, axis=-1) for p in (visible, leptonic_w)], axis=1).astype(np.float32),
        np.minimum(counts, max_jets),
        order,
    )
    for name in ("jets", "event", "momenta", "lepton"):
        if not np.isfinite(getattr(found, name)).all():
            raise ValueError(f"{PURPOSE}: a jet, lepton or MET is not finite")
    return found


def _offered(
    pt: npt.NDArray[np.float64], eta: npt.NDArray[np.float64], btag: npt.NDArray[np.bool_], counts: IntArray, most: int
) -> IntArray:
    """``(N, J)`` positions of the jets offered, by falling pT (equal ones by η), −1 beyond; tagged ones are taken first."""
    outside = np.arange(pt.shape[1]) >= counts[:, None]
    first = np.lexsort((eta, np.negative(pt), ~btag, outside), axis=1)[:, :most]
    kept_pt, kept_eta, beyond = (np.take_along_axis(v, first, 1) for v in (pt, eta, outside))
    again = np.lexsort((kept_eta, np.negative(kept_pt), beyond), axis=1)
    order: IntArray = np.take_along_axis(np.where(beyond, -1, first), again, 1)
    return order


class Mass(NamedTuple):
    """Mass of some daughters of a target, alone or with the lepton (``beside`` 0) or lepton and neutrino (1)."""

    members: tuple[int, ...]
    beside: int | None = None


@dataclass(frozen=True)
class Layout:
    """Columns of a permutation: six of each slot (the daughters of all targets), six of the event, then the masses."""

    targets: tuple[Pattern, ...]
    event_group: tuple[Permutation, ...]
    masses: bool

    @classmethod
    def of(cls, topology: Topology, masses: bool) -> Layout:
        """Of a declared topology."""
        return cls(patterns(topology), topology.event_group, masses)

    @cached_property
    def slots(self) -> tuple[tuple[int, ...], ...]:
        """Slots of each target."""
        ends = np.cumsum([0, *(t.degree for t in self.targets)]).tolist()
        return tuple(tuple(range(low, high)) for low, high in pairwise(ends))

    @property
    def n_slots(self) -> int:
        """Jets of a permutation."""
        return sum(target.degree for target in self.targets)

    @cached_property
    def mass_sets(self) -> tuple[tuple[Mass, ...], ...]:
        """Of each target the masses that are inputs: of all its daughters, and of pairs of them that may be exchanged.

        A target of one jet has two: that of the jet and the lepton, and with the neutrino as well.
        """
        if not self.masses:
            return tuple(() for _ in self.targets)
        found: list[tuple[Mass, ...]] = []
        for target in self.targets:
            every = tuple(range(target.degree))
            moved = (tuple(i for i in every if g[i] != i) for g in target.group)
            pairs = dict.fromkeys(pair for pair in moved if len(pair) == 2 and pair != every)
            one = (Mass(every, 0), Mass(every, 1))
            found.append(one if target.degree == 1 else tuple(Mass(members) for members in (every, *pairs)))
        return tuple(found)

    @property
    def n_inputs(self) -> int:
        """Columns."""
        return len(JET) * self.n_slots + len(EVENT) + sum(len(sets) for sets in self.mass_sets)

    def columns_of_slot(self, slot: int) -> slice:
        """Columns of the jet in a slot."""
        return slice(len(JET) * slot, len(JET) * (slot + 1))

    @property
    def columns_of_event(self) -> slice:
        """Columns of lepton and missing momentum."""
        start = len(JET) * self.n_slots
        return slice(start, start + len(EVENT))

    def columns_of_masses(self, target: int) -> slice:
        """Columns of a target's masses."""
        start = self.columns_of_event.stop + sum(len(sets) for sets in self.mass_sets[:target])
        return slice(start, start + len(self.mass_sets[target]))

    @cached_property
    def signs(self) -> Float32:
        """``(2, columns)``: −1 where a column changes sign as the event is mirrored in φ, in η; else 1."""
        names = [*JET * self.n_slots, *EVENT]
        names += [""] * (self.n_inputs - len(names))
        return np.array([[-1.0 if n in MIRRORED[how] else 1.0 for n in names] for how in ("phi", "eta")], np.float32)

    def target_masses(self, target: int, momenta: Tensor, lepton: Tensor) -> Tensor:
        """ln(1 + m/GeV): ``(…, k, 4)`` momenta of a target's daughters, ``(…, 2, 4)`` of leptons → ``(…, masses)``."""
        found = []
        for members, beside in self.mass_sets[target]:
            total = momenta[..., list(members), :].sum(-2)
            if beside is not None:
                total = total + lepton[..., beside, :]
            square = total[..., 0].square() - total[..., 1:].square().sum(-1)
            found.append(square.clamp_min(0).sqrt().log1p())
        return torch.stack(found, -1) if found else momenta.new_zeros((*momenta.shape[:-2], 0))

    def gathered(self, events: Events, objects: Tensor) -> Tensor:
        """Inputs of permutations in full: ``(B, P, K)`` jets of B events (tensors) → ``(B, P, columns)``."""
        at = torch.arange(len(objects), device=objects.device)[:, None, None]
        b, p, _ = objects.shape
        parts = [events.jets[at, objects].reshape(b, p, -1), events.event[:, None].expand(-1, p, -1)]
        if self.masses:
            momenta, lepton = events.momenta[at, objects], events.lepton[:, None]
            parts += [self.target_masses(t, momenta[..., list(slots), :], lepton) for t, slots in enumerate(self.slots)]
        return torch.cat(parts, dim=-1)

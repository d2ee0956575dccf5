"""What b tagging adds to ln L in the ranking of permutations (spec §3.1). It never enters a fit."""

from __future__ import annotations

import torch
from torch import Tensor

from hhh_coffea.base.errors import UserError
from hhh_coffea.methods.likelihood.events import LeptonJets
from hhh_coffea.methods.likelihood.tables import Table
from hhh_coffea.methods.likelihood.transfer_file import TaggingRates
from hhh_coffea.methods.likelihood_options import BtagTreatment


def working_point(rates: TaggingRates, pt: Tensor, btag: Tensor) -> tuple[Tensor, Tensor]:
    """ln of the factors of jets in the position of a b quark, and of a light quark; all of one shape.

    b: ε if tagged, 1 − ε if not. Light: 1/R if tagged, 1 − 1/R if not.
    """
    edges = torch.tensor(rates.pt[1:], dtype=torch.float64, device=pt.device)
    at = torch.bucketize(pt.contiguous(), edges, right=True)
    factors = []
    for numbers in (rates.efficiency, rates.mistag):
        rate = torch.tensor(numbers, dtype=torch.float64, device=pt.device)[at]
        factors.append(torch.where(btag, rate, 1 - rate).log())
    return factors[0], factors[1]


def log_tags(events: LeptonJets, table: Table, treatment: BtagTreatment, rates: TaggingRates | None) -> Tensor:
    """``(M, P)`` for events that all have as many jets as the table; −inf is a veto.

    ``veto_hybrid``: no tagged jet as light quark; where that leaves no permutation, no untagged jet as b quark.

    Raises
    ------
    UserError
        if the working point is asked for and the transfer functions come without b-tagging rates.
    """
    pt, btag = events.pt[:, : table.n_jets], events.btag[:, : table.n_jets]
    zero = torch.zeros_like(pt)
    if treatment == "none":
        return zero.new_zeros(len(pt), len(table.permutations))
    if treatment == "working_point":
        if rates is None:
            raise UserError("b-tag treatment 'working_point': the transfer functions have no b-tagging rates ('btag')")
        return _sums(table, *working_point(rates, pt, btag))
    tagged_light, untagged_b = zero.masked_fill(btag, -torch.inf), zero.masked_fill(~btag, -torch.inf)
    if treatment == "veto_both":
        return _sums(table, untagged_b, tagged_light)
    loose = _sums(table, untagged_b, zero)
    if treatment == "veto_untagged_b":
        return loose
    strict = _sums(table, zero, tagged_light)
    if treatment == "veto_tagged_light":
        return strict
    return torch.where((strict > -torch.inf).any(1, keepdim=True), strict, loose)


def _sums(table: Table, as_b: Tensor, as_light: Tensor) -> Tensor:
    """Sum over the jets of every permutation, through the blocks: there are fewer of them."""
    t = table.triplets
    total = (as_b[:, t[:, 0]] + as_light[:, t[:, 1]] + as_light[:, t[:, 2]])[:, table.of[:, 0]]
    total = total + as_b[:, table.of[:, 1]]
    if table.higgs:
        total = total + (as_b[:, table.pairs[:, 0]] + as_b[:, table.pairs[:, 1]])[:, table.of[:, 2]]
    return total

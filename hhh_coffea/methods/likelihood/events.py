"""Events with one lepton and jets as padded arrays, and the jets as candidates for a b or a light quark."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood.transfer import Transfer, met_resolution
from hhh_coffea.methods.likelihood.transfer_file import LinearMet, SigmoidMet
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

ELECTRON, MUON = 0, 1
LIGHT_MINIMUM = 1e-3  # GeV: least energy of a light quark
ABOVE_MASS = 1e-3  # GeV: least kinetic energy, for momenta must have finite derivatives
SQRT_RANGE = 7.0  # widths of the ranges: GeV½ for jets, then electrons, muons
SIGMA_RANGE = 10.0
MET_RANGE, PZ_RANGE = 100.0, 1000.0  # GeV


@dataclass(frozen=True)
class LeptonJets:
    """What is measured: float64 tensors on one device, GeV and radians; where ``mask`` is False a jet is padding."""

    pt: Tensor  # (N, J)
    eta: Tensor
    phi: Tensor
    mass: Tensor
    btag: Tensor  # (N, J), bool
    mask: Tensor  # (N, J), bool
    lepton_pt: Tensor  # (N,)
    lepton_eta: Tensor
    lepton_phi: Tensor
    lepton_flavor: Tensor  # (N,): 0 electron, 1 muon
    met: Tensor  # (N,)
    met_phi: Tensor
    sum_et: Tensor

    @classmethod
    def of(
        cls, jets: Any, btag: Any, mask: Any, lepton: Any, met: Any, device: str | torch.device = "cpu"
    ) -> LeptonJets:
        """From arrays: ``jets`` (N, J, 4) and ``lepton`` (N, 4) as pT, η, φ and mass, flavor; ``met`` (N, 3): MET, φ, ΣE_T.

        Raises
        ------
        ValueError
            if shapes disagree, or a jet, lepton or MET is not finite, or has no pT.
        """
        jets, lepton, met = (torch.as_tensor(a, dtype=torch.float64, device=device) for a in (jets, lepton, met))
        btag, mask = (torch.as_tensor(a, device=device).bool() for a in (btag, mask))
        n, j = mask.shape
        for name, tensor, shape in (
            ("jets", jets, (n, j, 4)),
            ("btag", btag, (n, j)),
            ("lepton", lepton, (n, 4)),
            ("met", met, (n, 3)),
        ):
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name}: shape {tuple(tensor.shape)}, must be {shape}")
        for name, tensor in (("jets", jets[mask]), ("lepton", lepton), ("met", met)):
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{name}: not all values are finite")
        if not ((jets[..., 0] > 0) | ~mask).all() or not (lepton[:, 0] > 0).all():
            raise ValueError("jets and leptons must have pT > 0")
        if not ((lepton[:, 3] == ELECTRON) | (lepton[:, 3] == MUON)).all():
            raise ValueError("the lepton's flavor must be 0 (electron) or 1 (muon)")
        pt, eta, phi, mass = jets.unbind(-1)
        lepton_pt, lepton_eta, lepton_phi, flavor = lepton.unbind(-1)
        return cls(
            pt, eta, phi, mass, btag & mask, mask, lepton_pt, lepton_eta, lepton_phi, flavor.long(), *met.unbind(-1)
        )

    def __len__(self) -> int:
        return len(self.lepton_pt)

    def rows(self, chosen: Tensor | slice) -> LeptonJets:
        """Only these events."""
        return LeptonJets(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def offered(self, max_jets: int) -> tuple[LeptonJets, Tensor]:
        """Jets in the order b-tagged first, then by pT, at most ``max_jets``; and their positions in the input, ``(N, J)``."""
        rank = torch.where(self.mask, self.pt + 1e6 * self.btag, -1.0)
        order = rank.argsort(dim=1, descending=True, stable=True)[:, :max_jets]
        columns = {name: getattr(self, name).gather(1, order) for name in ("pt", "eta", "phi", "mass", "btag", "mask")}
        return replace(self, **columns), order


class Jets(NamedTuple):
    """Jets under one hypothesis; each tensor ``(rows, jets)``, so that one index picks the jets of many fits."""

    kinematics: Tensor  # E, m², the three components of the direction, lower and upper end of the range of E
    coefficients: Tensor  # of the transfer function

    def take(self, index: Tensor) -> Jets:
        """Tensors ``(rows, *index.shape)``."""
        shape = index.shape
        flat = index.reshape(-1)
        return Jets(*(t.index_select(1, flat).reshape(len(t), *shape) for t in self))


def direction(eta: Tensor, phi: Tensor) -> Tensor:
    """Unit vectors, ``(3, …)``."""
    sin_theta = 1 / torch.cosh(eta)
    return torch.stack([sin_theta * phi.cos(), sin_theta * phi.sin(), torch.tanh(eta)])


def jets_as(events: LeptonJets, transfer: Transfer, quark_mass: float, options: LikelihoodOptions) -> Jets:
    """All jet slots of ``events``, flattened to N·J, as candidates for a quark of this mass.

    The mass kept in the fit is the quark's, or with ``jet_masses`` the jet's own. Padding gets harmless numbers.
    """
    pt, eta, phi, mass = (
        torch.where(events.mask, v, other).reshape(-1)
        for v, other in ((events.pt, 50.0), (events.eta, 0.0), (events.phi, 0.0), (events.mass, 0.0))
    )
    energy = ((pt * torch.cosh(eta)) ** 2 + mass**2).sqrt()  # a negative mass is a rounding: its square is small
    kept = mass.clamp_min(0) if options.jet_masses else torch.full_like(mass, quark_mass)
    coefficients = transfer.coefficients(eta)
    width = SQRT_RANGE * energy.sqrt()
    if options.ranges == "sigma":
        width = SIGMA_RANGE * transfer.resolution(coefficients, energy)
    least = torch.maximum(kept + ABOVE_MASS, torch.full_like(mass, LIGHT_MINIMUM))
    low = torch.maximum(energy - width, least)
    high = torch.maximum(energy + width, low + ABOVE_MASS)
    return Jets(torch.stack([energy, kept**2, *direction(eta, phi), low, high]), coefficients)


class Leptons(NamedTuple):
    """Lepton and missing momentum of each event, ``(rows, N)``."""

    kinematics: Tensor  # E, the factor from E to what the transfer function reads, direction (3), range of E (2)
    coefficients: Tensor
    missing: Tensor  # measured px, py and σ

    def take(self, index: Tensor) -> Leptons:
        """Tensors ``(rows, len(index))``."""
        return Leptons(*(t.index_select(1, index) for t in self))


def leptons_as(
    events: LeptonJets, flavor: int, transfer: Transfer, met: LinearMet | SigmoidMet, options: LikelihoodOptions
) -> Leptons:
    """Leptons of all events as if all had this flavor (massless; a muon's transfer function is one of pT)."""
    energy = events.lepton_pt * torch.cosh(events.lepton_eta)
    sin_theta = 1 / torch.cosh(events.lepton_eta)
    factor = sin_theta if flavor == MUON else torch.ones_like(energy)
    coefficients = transfer.coefficients(events.lepton_eta)
    if options.ranges == "sigma":
        width = SIGMA_RANGE * transfer.resolution(coefficients, energy * factor) / factor
    elif flavor == MUON:
        width = 2 * energy**2 * sin_theta
    else:
        width = 2 * energy.sqrt()
    low, high = (energy - width).clamp_min(LIGHT_MINIMUM), energy + width
    if options.fix_lepton:
        low = high = energy
    kinematics = torch.stack([energy, factor, *direction(events.lepton_eta, events.lepton_phi), low, high])
    missing = [events.met * events.met_phi.cos(), events.met * events.met_phi.sin(), met_resolution(met, events.sum_et)]
    return Leptons(kinematics, coefficients, torch.stack(missing))

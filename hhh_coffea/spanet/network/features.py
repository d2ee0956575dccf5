"""From the features of the event record to what the network sees: logarithms, normalisation, kinematics.

Masses, transverse momenta and everything that is logarithmic in the event YAML are in GeV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hhh_coffea.topology.topology import Input, Topology


class Normaliser(nn.Module):
    """One input's features, normalised as its event YAML says.

    ``log``: x → ln(1 + x); ``normalize``: x → (x − mean) / std over the real objects of the training sample; then
    zero where there is no object. Arguments below −1 cannot be meant to be logarithmic, they are taken as −1 + 1e-6
    instead of becoming NaN (padding often holds −1 or −999).
    """

    mean: Tensor
    std: Tensor
    log: Tensor

    def __init__(self, event_input: Input):
        super().__init__()
        features = event_input.features
        self.register_buffer("mean", torch.zeros(len(features)))
        self.register_buffer("std", torch.ones(len(features)))
        self.register_buffer("log", torch.tensor([feature.log for feature in features]), persistent=False)
        self.any_log = any(feature.log for feature in features)

    def forward(self, x: Tensor, mask: Tensor, log_applied: bool = False) -> Tensor:
        """Normalise ``x (..., F)`` with ``mask (...)``; ``log_applied`` where ln(1 + x) was already taken."""
        if self.any_log and not log_applied:
            x = torch.where(self.log, torch.log1p(x.clamp_min(-1 + 1e-6)), x)
        x = (x - self.mean) / self.std
        return torch.where(mask.unsqueeze(-1), x, 0.0)  # not a product: 0 * NaN is NaN, and padding may hold NaN


def fit_normalisers(
    normalisers: Sequence[Normaliser], topology: Topology, inputs: Sequence[Tensor], masks: Sequence[Tensor]
) -> None:
    """Set mean and standard deviation from the training sample's raw features.

    ``inputs[i]`` is ``(N, M, F)`` (``(N, 1, F)`` for GLOBAL), ``masks[i]`` is ``(N, M)``. Features without
    ``normalize`` keep 0 and 1; a constant feature (std < 1e-5) is divided by 1.
    """
    for normaliser, event_input, x, mask in zip(normalisers, topology.inputs, inputs, masks, strict=True):
        real = x[mask].double()  # (objects, F): in double precision, for millions of objects
        real = torch.where(normaliser.log.cpu(), torch.log1p(real.clamp_min(-1 + 1e-6)), real)
        std, mean = torch.std_mean(real, dim=0)
        use = torch.tensor([feature.normalize for feature in event_input.features])
        normaliser.mean.copy_(torch.where(use, mean, 0.0))
        normaliser.std.copy_(torch.where(use & (std >= 1e-5), std, 1.0))


def sequential_masks(topology: Topology, masks: Sequence[Tensor]) -> Tensor:
    """Masks of the objects that can be assigned, concatenated: ``(B, S)``."""
    return torch.cat([m for m, i in zip(masks, topology.inputs, strict=True) if i.kind == "sequential"], dim=1)


def undirected(event_input: Input) -> list[int]:
    """Columns of the features of an input that are no direction: neither eta nor phi, its sine or cosine."""
    return [k for k, name in enumerate(event_input.feature_names) if _bare(name) not in DIRECTIONS]


def _bare(name: str) -> str:
    return name.lower().removeprefix("fj_").replace("_", "")


def kinematics(event_input: Input, x: Tensor, transverse: bool = False) -> dict[str, Tensor] | None:
    """Pick pt and mass (GeV), eta, sin φ and cos φ out of ``x (B, M, F)``, each ``(B, M)``; None if one is missing.

    The spellings are those in use: ``pt``, ``fj_pt``, ``ptcorr``, ``met``; ``sinphi``, ``sin_phi``, or ``phi`` itself.
    ``transverse``: without eta and mass.
    """
    columns: dict[str, Tensor] = {}
    for index, name in enumerate(event_input.feature_names):
        bare = _bare(name)
        columns.setdefault({"ptcorr": "pt", "met": "pt"}.get(bare, bare), x[..., index])
    if "phi" in columns:
        columns.setdefault("sinphi", torch.sin(columns["phi"]))
        columns.setdefault("cosphi", torch.cos(columns["phi"]))
    wanted = ("pt", "sinphi", "cosphi") if transverse else ("pt", "eta", "sinphi", "cosphi", "mass")
    return {k: columns[k] for k in wanted} if all(k in columns for k in wanted) else None


DIRECTIONS = ("eta", "phi", "sinphi", "cosphi")
PAIR_FEATURES = ("ln_delta_r", "ln_kt", "ln_z", "ln_m2")


def features_of_pairs(a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    """Kinematics of pairs of objects with momenta ``a``, ``b (…)``: ln ΔR, ln kT, ln z, ln m² (GeV), ``(…, 4)``.

    kT = min(pT1, pT2) ΔR, z = min(pT1, pT2) / (pT1 + pT2), m² the squared invariant mass, as in the Particle
    Transformer (H. Qu, C. Li, S. Qian, arXiv 2202.03772, eq. 3), but with true ΔR in η. Scaled to order one by fixed
    constants.
    """
    sin = a["sinphi"] * b["cosphi"] - a["cosphi"] * b["sinphi"]
    cos = a["cosphi"] * b["cosphi"] + a["sinphi"] * b["sinphi"]
    eta = a["eta"] - b["eta"]
    ln_dr = 0.5 * torch.log(eta.square() + torch.atan2(sin, cos).square() + 1e-6)
    ln_min = torch.log(torch.minimum(a["pt"], b["pt"]).clamp_min(1e-3))
    ln_z = ln_min - torch.log((a["pt"] + b["pt"]).clamp_min(1e-3))
    # m² = m1² + m2² + 2 (mT1 mT2 cosh Δη − pT1 pT2 cos Δφ): no energies, so no cancellation of large momenta
    mt_a, mt_b = ((p["pt"].square() + p["mass"].square()).sqrt() for p in (a, b))
    m2 = mt_a * mt_b * torch.cosh(eta.clamp(-12, 12)) - a["pt"] * b["pt"] * cos
    ln_m2 = torch.log((a["mass"].square() + b["mass"].square() + 2 * m2).clamp_min(1e-2))
    return torch.stack([ln_dr, 0.5 * (ln_min + ln_dr - 3.5), ln_z + 1.0, scaled(ln_m2)], dim=-1)


def scaled(ln_m2: Tensor) -> Tensor:
    """ln m² (GeV) to order one."""
    return 0.5 * (ln_m2 - 9.5)


def squared_mass(scaled_ln_m2: Tensor) -> Tensor:
    """m² (GeV²) from :func:`scaled`."""
    return torch.exp(2 * scaled_ln_m2 + 9.5)


def transverse_features(objects: dict[str, Tensor], vector: dict[str, Tensor]) -> Tensor:
    """:func:`features_of_pairs` of objects ``(B, M)`` and a transverse vector ``(B, 1)``, which is taken massless and at
    each object's η: ΔR is then |Δφ|, and the mass mT up to the mass of the object. ``(B, M, 4)``.
    """
    full = {k: v.expand_as(objects["pt"]) for k, v in vector.items()}
    return features_of_pairs(objects, {**full, "eta": objects["eta"], "mass": torch.zeros_like(objects["mass"])})


def pair_numbers(n: int, device: torch.device) -> Tensor:
    """Number of each pair of n objects in the list (0, 1), (0, 2), …, (1, 2), …; on the diagonal one more: ``(n, n)``."""
    i = torch.arange(n, device=device)
    low, high = torch.minimum(i.unsqueeze(1), i), torch.maximum(i.unsqueeze(1), i)
    return torch.where(low == high, n * (n - 1) // 2, low * (2 * n - low - 1) // 2 + high - low - 1)


def overlap_matrix(
    topology: Topology, inputs: Sequence[Tensor], masks: Sequence[Tensor], radius: float = 0.5
) -> Tensor:
    """Which small-radius jets lie within ΔR < ``radius`` of which large-radius jets: ``(B, N, F)``, false for padding.

    The inputs are those of the first resolved and the first boosted target. ValueError if either lacks η or φ.
    """
    members = topology.alternatives[0]
    names = [topology.targets[i].sources[0] for i in members]
    (a, x, ma), (b, y, mb) = (
        next((i, t, m) for i, t, m in zip(topology.inputs, inputs, masks, strict=True) if i.name == name)
        for name in names[:2]
    )
    p, q = kinematics(a, x), kinematics(b, y)
    if p is None or q is None:
        raise ValueError(f"overlap removal needs pt, eta, phi and mass of {a.name} and {b.name}")
    # one angle an object, not one a pair, and events last, so that every step has long rows
    rows = [{k: v.T.contiguous() for k, v in found.items()} for found in (p, q)]  # (N, B), (F, B)
    phi, fat_phi = (torch.atan2(r["sinphi"], r["cosphi"]) for r in rows)
    delta = (phi.unsqueeze(1) - fat_phi).abs()  # (N, F, B)
    delta = torch.minimum(delta, 2 * math.pi - delta)
    near = (rows[0]["eta"].unsqueeze(1) - rows[1]["eta"]).square() + delta.square() < radius**2
    real = ma.T.contiguous().unsqueeze(1) & mb.T.contiguous()
    return (near & real).permute(2, 0, 1)

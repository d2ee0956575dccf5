"""The card of a file of transfer functions: where they come from and how well they fit, for people."""

from __future__ import annotations

import torch

from hhh_coffea.methods.likelihood.shapes import parameters
from hhh_coffea.methods.likelihood.transfer_file import DoubleGaussian, LinearMet, TransferFunctions

PARTICLES = {"light": "light quark", "bottom": "b quark", "electron": "electron", "muon": "muon"}
SHOWN_AT = (40.0, 80.0, 150.0)  # GeV


def text(name: str, functions: TransferFunctions, files: list[str], events: int, version: str) -> str:
    """Compose ``README.md``."""
    rows = []
    for particle, label in PARTICLES.items():
        for bin_ in getattr(functions, particle):
            if isinstance(bin_, DoubleGaussian):
                widths = " / ".join(f"{100 * s:.1f}" for s in core_widths(bin_))
                rows.append(
                    f"| {label} | {bin_.eta[0]:g}–{bin_.eta[1]:g} | {bin_.shape} | {bin_.n:,} | {bin_.range[0]:.0f}–"
                    f"{bin_.range[1]:.0f} | {widths} | {bin_.chi2_ndf:.1f} |"
                )
    met, btag = functions.met, functions.btag
    lines = [
        f"# {name}",
        "",
        "Transfer functions of the kinematic likelihood fit: how energies are measured. Written by",
        "`hhh train transfer-functions`. Do not edit; derive them again. `transfer_functions.json` is what the",
        "fit reads.",
        "",
        "## Intended use",
        "",
        "Simulated events of the same detector, jet algorithm, jet calibration and selection (pT > 25 GeV, |η| < 2.5) as those",
        "below. They are wrong for any other detector.",
        "",
        "## Data",
        "",
        f"{events:,} selected events of semi-leptonic tt̄ in {', '.join(files)}. Event weights are not used.",
        "Jets: of events in which all quarks of both top quarks have a jet within ΔR < 0.4. Leptons: within ΔR < 0.1 of the",
        "generated one. b-tagging rates: all selected jets, so they hold in events that were selected with at least two b tags,",
        f"where jets are tagged more often than elsewhere. Derived with hhh_coffea {version}.",
        "",
        "## Double Gaussians",
        "",
        "σ is the width of the narrower Gaussian in (E − E_measured)/E, in percent, at E = 40 / 80 / 150 GeV (muons: pT).",
        "χ²/ndf is that of the pulls in 20 bins of equal probability. It rises with the number of pairs: with 30,000 pairs a",
        "deviation of 2% in each bin gives 1.6.",
        "",
        "| particle | abs(η) | shape | pairs | range (GeV) | σ (%) | χ²/ndf |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Pulls: Φ⁻¹ of the probability to measure less energy than was measured, among the energies that pass the selection.",
        "",
        "![pulls](pulls.png)",
        "",
    ]
    if isinstance(met, LinearMet):
        lines += [
            "## Missing transverse momentum",
            "",
            f"σ of each component: {met.p0:.2f} GeV + {met.p1:.4f} · ΣE_T.",
            "",
        ]
    if btag is not None:
        lines += [
            "## b tagging",
            "",
            "| jet pT from (GeV) | " + " | ".join(f"{pt:g}" for pt in btag.pt) + " |",
            "|---|" + "---|" * len(btag.pt),
            "| b jets | " + " | ".join(f"{e:.3f}" for e in btag.efficiency) + " |",
            "| other jets | " + " | ".join(f"{e:.3f}" for e in btag.mistag) + " |",
            "",
        ]
    return "\n".join(lines)


def core_widths(function: DoubleGaussian) -> list[float]:
    """σ of the narrower Gaussian at :data:`SHOWN_AT`."""
    x = torch.tensor(SHOWN_AT, dtype=torch.float64)
    c = torch.tensor([*function.parameters, *function.range], dtype=torch.float64).unsqueeze(1).expand(-1, len(x))
    _, s1, a, _, s2 = (p[0].expand_as(x) for p in parameters(function.shape, c, x))
    widths: list[float] = torch.where(a > 0, torch.minimum(s1, s2), s1).tolist()
    return widths

"""What the kinematic fit can be told, and the width of the top quark."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from hhh_coffea.base.strict import Positive, Strict

FERMI_CONSTANT = 1.16637e-5  # GeV⁻²
ALPHA_S = 0.118
BtagTreatment = Literal["none", "working_point", "veto_tagged_light", "veto_untagged_b", "veto_both", "veto_hybrid"]


def top_width(top_mass: float, w_mass: float = 80.4) -> float:
    """Width of the top quark (GeV) at first order in α_s, with massless b quarks; 1.343 at 173 GeV (spec §3.1)."""
    r = (w_mass / top_mass) ** 2
    born = FERMI_CONSTANT * top_mass**3 / (8 * math.pi * math.sqrt(2)) * (1 - r) ** 2 * (1 + 2 * r)
    return born * (1 - 2 * ALPHA_S / (3 * math.pi) * (2 * math.pi**2 / 3 - 2.5))


class LikelihoodOptions(Strict):
    """Options of the kinematic likelihood fit; masses, widths and energies in GeV.

    ``top_mass``: fixed value, or with ``free_top_mass`` only where its width comes from. ``higgs``: fit ttH.
    ``higgs_mass``: None leaves it free; the two jets then enter through their transfer functions alone.
    ``jet_masses``: keep each jet's measured mass instead of 4.7 GeV (b) and 0 (light). ``normalised``: Breit–Wigner
    terms with the factor MΓ that KLFitter leaves out. ``jacobian``: double Gaussians as densities in the measured energy.
    ``fix_lepton``: keep the lepton at its measured energy. ``ranges``: ``sqrt`` are KLFitter's ±7√E, ``sigma`` are ±10
    standard deviations of the transfer functions. ``max_jets``: jets offered, b-tagged ones first, then by pT.
    """

    top_mass: Positive = 173.0
    free_top_mass: bool = False
    top_width: Positive | None = Field(None, description="from the top mass when None")
    w_mass: Positive = 80.4
    w_width: Positive = 2.1
    bottom_mass: Positive = 4.7
    higgs: bool = False
    higgs_mass: Positive | None = 125.0
    higgs_width: Positive = 0.004078
    jet_masses: bool = False
    normalised: bool = False
    jacobian: bool = False
    fix_lepton: bool = False
    ranges: Literal["sqrt", "sigma"] = "sqrt"
    btag: BtagTreatment = "working_point"
    max_jets: int = Field(8, ge=4)
    polish: int | None = Field(4, ge=1, description="free top mass: permutations fitted in all parameters; None: all")
    tolerance: Positive = Field(1e-9, description="gain in ln L below which a fit ends")
    max_iterations: int = Field(60, ge=1)

    @property
    def gamma_top(self) -> float:
        """Width of the top quark in use; it does not follow a free mass during the fit."""
        return self.top_width if self.top_width is not None else top_width(self.top_mass, self.w_mass)

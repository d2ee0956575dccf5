"""What M. Fenton et al. published (Commun. Phys. 7, 139 (2024), Figure 7 and text): errors of m_t (GeV) and quality cuts."""

from __future__ import annotations

TOP_MASS_ERROR = {"likelihood": 0.193, "pdnn": 0.176, "spanet": 0.165, "perfect": 0.109}
CUTS = {"likelihood": -70.0, "pdnn": 0.12, "spanet": 0.23}

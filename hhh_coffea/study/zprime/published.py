"""What M. Fenton et al. published (Commun. Phys. 7, 139 (2024), Table 3): significance at 140 and at 300 fb⁻¹."""

from __future__ import annotations

from hhh_coffea.study.zprime.events import REGRESSED

TABLE_3: dict[float, dict[str, tuple[float, float]]] = {
    500.0: {"likelihood": (1.2, 2.5), "pdnn": (1.8, 3.5), "spanet": (2.8, 5.5), REGRESSED: (2.7, 5.4)},
    700.0: {"likelihood": (1.6, 3.3), "pdnn": (2.5, 4.9), "spanet": (3.1, 6.1), REGRESSED: (2.9, 5.7)},
    900.0: {"likelihood": (1.9, 3.9), "pdnn": (2.8, 5.5), "spanet": (4.3, 8.5), REGRESSED: (4.1, 8.2)},
}
CUTS = {"pdnn": 0.43, "spanet": 0.078, REGRESSED: 0.078}  # on the quality

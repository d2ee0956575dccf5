"""The published efficiencies of assignments in semi-leptonic tops: Table 1 of arXiv:2309.01886, in per cent.

Each column is event / t_H / t_L (/ H). The samples differ from any of ours: 11 million events of MadGraph, Pythia 8.2 and
Delphes 3.4.2.
"""

from __future__ import annotations

from hhh_coffea.reconstruction.analysis import PublishedAssignments

SOURCE = "M. Fenton et al., Commun. Phys. 7, 139 (2024), Table 1"
METHODS = ("SPANet", "PDNN", "KLFitter")
TABLES = {
    "ttbar": """
        all  4    81/80/86     74/80/78     60/66/65
        all  5    74/72/84     68/69/79     32/37/47
        all  ≥6   66/61/82     57/53/75     18/20/35
        all  all  76/73/85     68/69/78     42/44/53
        full 4    84/84/90     83/83/89     71/71/77
        full 5    73/74/87     69/71/84     28/39/52
        full ≥6   60/63/84     51/55/79     12/21/37
        full all  75/76/87     70/72/85     41/47/58
    """,
    "tth": """
        all  6    43/54/69/50  33/48/57/43  31/36/55/43
        all  7    39/48/68/49  31/43/58/43  16/25/47/29
        all  ≥8   34/42/68/47  27/36/56/40  11/15/46/24
        all  all  40/49/69/49  31/43/57/43  21/26/50/34
        full 6    54/65/73/62  49/60/68/58  38/49/60/48
        full 7    42/55/70/56  36/50/64/51  13/31/48/31
        full ≥8   33/47/69/52  28/42/60/46  05/17/46/24
        full all  45/57/71/57  39/52/64/52  19/33/52/35
    """,
}


def table_1(process: str) -> PublishedAssignments:
    """The published rows of ``ttbar`` or ``tth``."""
    rows: dict[str, dict[str, dict[str, tuple[float, ...]]]] = {method: {} for method in METHODS}
    for line in TABLES[process].strip().splitlines():
        kind, jets, *columns = line.split()
        for method, column in zip(METHODS, columns, strict=True):
            values = tuple(float(value) for value in column.split("/"))
            rows[method].setdefault(kind, {})[jets.replace("≥", "≥ ")] = values
    return PublishedAssignments(SOURCE, rows)

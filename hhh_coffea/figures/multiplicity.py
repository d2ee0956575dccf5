"""Figure of the number of objects in an event, before the requirement on jets (figure 6)."""

from __future__ import annotations

import hist
import mplhep
import numpy as np
from hist import Hist
from matplotlib.ticker import MaxNLocator

from hhh_coffea.figures.looks.palette import SEQUENCE
from hhh_coffea.figures.looks.style import Writer
from hhh_coffea.figures.spectra import effective, merged, well_filled

NAMES = {"jets": "small-radius jets", "fatjets": "large-radius jets", "leptons": "leptons"}
LINES = ("-", "--", "-.")


def draw(write: Writer, histogram: Hist, dataset: str, label: str) -> None:
    """Share of events by the number of objects of each collection, with statistical errors, all in one panel.

    Numbers of objects that few events have are joined, and the mean of their shares is drawn.
    Collections of which every event has the same number are left out: there is nothing to see.
    """
    found = {}
    for name in NAMES:
        if name in histogram.axes["collection"] and dataset in histogram.axes["dataset"]:
            chosen = histogram[{"dataset": hist.loc(dataset), "collection": hist.loc(name)}]
            if np.count_nonzero(chosen.values(flow=True)) > 1:
                found[name] = chosen.values(flow=True), chosen.variances(flow=True)
    if not found:
        return
    last = max(int(np.flatnonzero(values)[-1]) for values, _ in found.values())
    with write.figure(f"{dataset}/multiplicity", label) as (axis,):
        for (name, (values, variances)), color, line in zip(found.items(), SEQUENCE, LINES, strict=False):
            total = values.sum()  # weights may be negative, and so may it
            borders = well_filled(effective(values[: last + 1], variances[: last + 1]))
            scale = 1 / total / np.diff(borders)
            shares, errors = merged(values, borders) * scale, np.sqrt(merged(variances, borders)) * abs(scale)
            style = {"color": color, "linestyle": line, "linewidth": 2.5, "label": NAMES[name]}
            mplhep.histplot(shares, borders - 0.5, yerr=errors, ax=axis, **style)
        axis.set(xlim=(-0.5, last + 0.5), ylabel="Share of events")
        axis.set_xlabel("Objects in an event" if len(found) > 1 else f"Number of {NAMES[next(iter(found))]}")
        axis.set_ylim(0, 1.2 * axis.get_ylim()[1])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.xaxis.set_minor_locator(MaxNLocator(1))
        axis.legend(loc="upper right")

"""The report page of the study, and its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hhh_coffea.figures.report.page import Figure, Page, Section, Table
from hhh_coffea.inference.top_mass.mass_model import CATEGORIES, EDGES, OBSERVABLES, Line, MassModel
from hhh_coffea.inference.top_mass.mass_shapes import Shape
from hhh_coffea.study.quality import NAMES as QUALITIES
from hhh_coffea.study.reconstructed import PERFECT
from hhh_coffea.study.study import Study
from hhh_coffea.study.top_mass import figures
from hhh_coffea.study.top_mass.events import CLOSURE, DATA, JSF, ROLES
from hhh_coffea.study.top_mass.figures import name_of
from hhh_coffea.study.top_mass.program import Inputs
from hhh_coffea.study.top_mass.published import CUTS, TOP_MASS_ERROR
from hhh_coffea.study.top_mass.templates import histograms, rows_at
from hhh_coffea.study.top_mass.tuning import passing

TITLE = "Mass of the top quark"
SOURCE = "M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886: Figure 7 and its text"
Found = Mapping[str, Mapping[str, Any]]
EXPECTED = (
    "Asimov data at m_t = 173 GeV and JSF = 1 with {events:,.0f} events before mass window and quality cut. Contours "
    "are Δ(−2 ln L) = 1 and 9; points are from MINOS. Errors of the errors are those of the template events (each tenth "
    "left out in turn). The error goes with 1/√N: the paper does not state its N, so ratios are compared."
)
ROLES_TEXT = (
    "Of the template sample {templates:.0%} of the events are templates, {tuning:.0%} choose the quality cuts, and "
    "pseudo-experiments are drawn from {pseudo:.0%}; a hash decides. Every jet is scaled by the JSF before the selection, "
    "MET with it, and all methods run again. Jets must have pT > 26 GeV after scaling, because the files hold no events "
    "without four jets above 25 GeV."
)
CALIBRATED = (
    "{experiments} pseudo-experiments of the size of the data per generated mass. Pull widths are of bootstrap samples, in "
    "which the correlation of both masses in an event is present; the likelihood ignores it."
)
CHOSEN = (
    "The cut has the smallest expected error of m_t (mean of three neighbours), with events of the tuning role alone."
)
MEASURED = (
    "The closure sample has m_t = 173 GeV and was used by no training. The sample of 171.9 GeV is fitted once, after all "
    "choices. Total error: statistical (scaled by the pull width), templates, and calibration line."
)


def model_of(entry: Mapping[str, Any]) -> MassModel:
    """The templates from their coefficients in the results of a stage."""
    shapes = {
        category: {
            name: Shape(EDGES[name], np.array(own["coefficients"]), own["mirrored"], own["chi2"], own["ndf"])
            for name, own in found.items()
        }
        for category, found in entry["shapes"].items()
    }
    lines = {name: Line(np.array(line["coefficients"])) for name, line in entry["lines"].items()}
    acceptance = lines.pop("acceptance")
    return MassModel(tuple(shapes), shapes, lines, acceptance)


def write(study: Study, inputs: Inputs, found: Found, data: Found) -> int:
    """Draw, write the page, print the results; returns the exit code."""
    draw = study.figures
    first = next(iter(found))
    main = "spanet" if "spanet" in found else first
    title = f"{inputs.events:,.0f} events"
    closures = {method: entry["closure"] for method, entry in found.items()}
    results = {"closure": closures, "data": data}
    generated = {"closure": float(np.mean(inputs.masses[CLOSURE][1.0])), "data": data[first]["generated"]}
    ellipses = figures.draw_ellipses(draw, found, title)
    masses = figures.draw_masses(draw, results, generated)
    tables = {"expected": _expected(found), "measured": _measured(results, generated)}
    for table in tables.values():
        study.show(table)
    page = Page(TITLE, SOURCE, _conclusion(found, data, generated["data"]))
    page.sections = [
        Section(
            "Expected errors",
            [EXPECTED.format(events=inputs.events)],
            [tables["expected"]],
            [Figure(ellipses, "Expected contours of m_t and JSF, at one and three standard deviations.")],
        ),
        Section(
            "Measurements",
            [MEASURED],
            [tables["measured"]],
            [Figure(masses, "Measured masses; inner bars: statistical error.")],
        ),
        Section(
            "Templates",
            [ROLES_TEXT.format(**ROLES)],
            [_chi2(found), _shares(found)],
            [
                Figure(
                    figures.draw_dependence(draw, main, model_of(found[main])),
                    f"Templates of {name_of(main)} at other m_t and JSF.",
                ),
                *(_fits(study, inputs, method, found[method], data[method]) for method in found),
            ],
        ),
        Section(
            "Quality cuts",
            [CHOSEN],
            [_cuts(found)],
            [
                Figure(
                    figures.draw_cuts(draw, found),
                    "Expected error against the share of events that pass; points are the cuts.",
                )
            ],
        ),
        Section(
            "Calibration",
            [CALIBRATED.format(experiments=found[first]["calibration"]["experiments"])],
            [_calibration(found), _jsf_closure(found)],
            [
                Figure(
                    figures.draw_calibration(draw, found),
                    "Mean of pseudo-experiments less generated mass, and fitted lines.",
                )
            ],
        ),
    ]
    return study.finish(page, {"methods": dict(found), "data": dict(data), "expected_events": inputs.events})


def _fits(study: Study, inputs: Inputs, method: str, entry: Mapping[str, Any], result: Mapping[str, Any]) -> Figure:
    selected = passing(inputs.selected(DATA, method), entry["tuning"]["cut"])
    rows = histograms(selected[rows_at(selected, 1.0)])
    at = (result["fitted"][0], result["jsf"][0])
    path = figures.draw_fit(study.figures, method, model_of(entry), at, rows)
    goodness = ", ".join(f"{name} {c:.0f}/{n:.0f}" for name, (c, n) in result["chi2"].items())
    return Figure(path, f"{name_of(method)}: data and the best fit; χ²/ndf of {goodness}.")


def _conclusion(found: Found, data: Found, generated: float) -> str:
    errors = {method: entry["expected"]["top_mass_error"] for method, entry in found.items()}
    ranked = sorted(errors, key=lambda method: errors[method][0])
    order = ", ".join(f"{name_of(method)} {errors[method][0] / errors[ranked[0]][0]:.2f}" for method in ranked)
    pulls = [(entry["top_mass"] - generated) / entry["total"] for method, entry in data.items() if method != PERFECT]
    return (
        f"Expected errors of m_t from the same events, relative to the smallest: {order}. The sample of {generated:g} GeV is "
        f"measured within {max(map(abs, pulls)):.1f} standard deviations by every method."
    )


def _expected(found: Found) -> Table:
    reference = "spanet" if "spanet" in found else next(iter(found))
    base = found[reference]["expected"]
    rows = []
    for method, entry in found.items():
        own = entry["expected"]
        ratio = own["top_mass_error"][0] / base["top_mass_error"][0]
        blocks = np.array(own["without_blocks"]) / np.array(base["without_blocks"])
        n = len(blocks)
        spread = float(np.sqrt((n - 1) / n * ((blocks - blocks.mean()) ** 2).sum()))
        known = TOP_MASS_ERROR.get(method)
        published = "–" if known is None else f"{known:.3f} ({known / TOP_MASS_ERROR['spanet']:.2f})"
        rows.append(
            [
                name_of(method),
                "{:.4f} ± {:.4f}".format(*own["top_mass_error"]),
                f"{own['top_mass_error'][0] * entry['calibration']['pull_width'][0] / entry['calibration']['b']:.4f}",
                f"{ratio:.2f} ± {spread:.2f}" if method != reference else "1",
                published,
                "{:.5f} ± {:.5f}".format(*own["jsf_error"]),
                f"{own['correlation']:+.2f}",
                f"{own['selected']:,.0f}",
            ]
        )
    header = [
        "method",
        "σ(m_t) (GeV)",
        "times pull width / b",
        f"relative to {name_of(reference)}",
        "published (relative)",
        "σ(JSF)",
        "correlation",
        "events",
    ]
    return Table("Expected errors", header, rows)


def _measured(results: Mapping[str, Found], generated: Mapping[str, float]) -> Table:
    rows = []
    for sample, found in results.items():
        for method, entry in found.items():
            pull = (entry["top_mass"] - generated[sample]) / entry["total"]
            parts = " ± ".join(f"{entry[name]:.2f}" for name in ("top_mass", "statistical", "templates", "calibration"))
            jsf = f"{entry['jsf'][0]:.4f} ± {np.hypot(*entry['jsf'][1:]):.4f}"
            rows.append(
                [sample, name_of(method), parts, f"{entry['total']:.2f}", f"{pull:+.1f}", jsf, f"{entry['events']:,}"]
            )
    header = ["sample", "method", "m_t ± stat. ± templates ± calibration", "total", "pull", "JSF", "events"]
    return Table("Corrected masses (GeV)", header, rows)


def _chi2(found: Found) -> Table:
    rows = []
    for method, entry in found.items():
        for category in entry["shapes"]:
            cells = [name_of(method), category]
            for name in OBSERVABLES:
                shape = entry["shapes"][category][name]
                flipped = ", mirrored" if shape["mirrored"] else ""
                cells.append(f"{shape['chi2']:.0f} / {shape['ndf']} = {shape['chi2'] / shape['ndf']:.3f}{flipped}")
            rows.append(cells)
    note = (
        "All generated masses and JSF of a category are fitted at once. The JSF share their events: χ² fluctuates more."
    )
    return Table("χ² of the shapes", ["method", "category", "m(t_H)", "m(W)"], rows, note)


def _shares(found: Found) -> Table:
    rows = []
    for method, entry in found.items():
        cells = [name_of(method)]
        for category in CATEGORIES:
            template, closure = entry["shares"].get(category), entry["closure_shares"][category]
            own = f"{100 * template[0]:.1f} ± {100 * template[1]:.1f}" if template else "–"
            cells += [own, "{:.1f} ± {:.1f}".format(*(100 * v for v in closure))]
        rows.append(cells)
    header = ["method", *(f"{category}, {where}" for category in CATEGORIES for where in ("templates", "closure"))]
    note = "Templates at 173 GeV. Networks have seen most template events in their training, and none of the closure sample."
    return Table("Shares of the categories (%)", header, rows, note)


def _cuts(found: Found) -> Table:
    rows = []
    for method, entry in found.items():
        tuning = entry["tuning"]
        if "errors" not in tuning:
            continue
        cut = tuning["cut"]
        best = 0 if cut is None else int(np.argmin(np.abs(np.array(tuning["cuts"]) - cut)))
        gain = tuning["errors"][best] / tuning["errors"][0]
        rows.append(
            [
                name_of(method),
                QUALITIES.get(method, ""),
                "none" if cut is None else f"{cut:.3g}",
                f"{1 - tuning['quantiles'][best]:.0%}",
                f"{gain:.3f}",
                f"{CUTS[method]:g}" if method in CUTS else "–",
            ]
        )
    header = ["method", "quality", "cut", "events that pass", "error relative to no cut", "published cut"]
    return Table("Quality cuts", header, rows)


def _calibration(found: Found) -> Table:
    rows = []
    for method, entry in found.items():
        line = entry["calibration"]
        a, b = np.sqrt(np.diag(line["covariance"]))
        pulls = [f"{w:.3f} ± {e:.3f}" for w, e in zip(line["pull_width"], line["pull_width_error"], strict=True)]
        rows.append(
            [
                name_of(method),
                f"{line['a']:+.2f} ± {a:.2f}",
                f"{line['b']:.3f} ± {b:.3f}",
                f"{line['chi2']:.1f} / {line['ndf']}",
                *pulls,
            ]
        )
    header = ["method", "a (GeV)", "b", "χ²/ndf", "pull width of m_t", "pull width of JSF"]
    return Table("⟨m_fit⟩ = 173 GeV + a + b (m − 173 GeV)", header, rows)


def _jsf_closure(found: Found) -> Table:
    rows = []
    for method, entry in found.items():
        cells = [name_of(method)]
        for jsf in JSF:
            own = entry["closure_jsf"][str(jsf)]
            cells.append(
                f"{own['jsf'][0]:.4f} ± {np.hypot(*own['jsf'][1:]):.4f}; {own['top_mass']:.2f} ± {own['total']:.2f}"
            )
        rows.append(cells)
    note = "JSF and corrected m_t (GeV) of the closure sample with its jets scaled. Its events are the same in all columns."
    return Table("Closure at other JSF", ["method", *(f"JSF {jsf:g}" for jsf in JSF)], rows, note)

"""The report page of the study: conclusions first, published numbers beside ours, then figures."""

from __future__ import annotations

from typing import Any

from hhh_coffea.figures.looks.style import NAMES
from hhh_coffea.figures.report.page import Figure, Page, Section, Table
from hhh_coffea.study.study import Study
from hhh_coffea.study.tth.discriminants import Discriminants
from hhh_coffea.study.tth.figures import YIELD_NAMES, draw_learning_curve, draw_roc, draw_scores, draw_table_2, name_of
from hhh_coffea.study.tth.measurement import MODELS, OWN, PUBLISHED
from hhh_coffea.study.tth.published import RUNS, SOURCE, published

NO_SEPARATION = 0.5  # area under the ROC curve of random numbers
YIELDS_AND_MODELS = (
    "Our yields follow from the cross sections of the fileset. The paper does not print its yields; 2,750 ttH and 21,500 ttbb "
    "events at 140 fb⁻¹, which its cross sections and counts of events allow, are called published yields here. In the models of "
    "the background, 10% (Run 2) or 7% (Run 3) is uncertain in each bin on its own (shapesys) or in all bins together (normsys)."
)


def make_page(study: Study, found: Discriminants, summary: dict[str, Any]) -> Page:
    """Draw the figures and put the page together."""
    separations, table = summary["separation"], summary["table_2"]
    write = study.figures
    roc = Figure(
        draw_roc(write, separations),
        "ttH efficiency against the inverse of the ttbb efficiency; 68% of bootstrap samples.",
    )
    caption = "Separation against the number of events that the BDTs are trained on, in the events of the fit."
    curve = Figure(draw_learning_curve(write, summary["learning_curve"]), caption)
    measured = [
        Figure(
            draw_table_2(write, table, quantity, label),
            f"{label}, beside the published numbers.",
        )
        for quantity, label in (("significance", "Significance [σ]"), ("mu_limit", "Limit on μ"))
    ]
    scores = [
        Figure(draw_scores(write, found, name, entry["edges"]), f"{name_of(name)} in the bins of the fit.")
        for name, entry in table.items()
    ]
    simulated = {kind: int(use.sum()) for kind, use in (("ttH", found.signal), ("ttbb", ~found.signal))}
    return Page(
        "ttH against ttbb",
        f"After {SOURCE.rpartition(',')[0]}; {simulated['ttH']:,} ttH and {simulated['ttbb']:,} ttbb events in the fit. "
        "Errors are those of these events, by bootstrap.",
        conclusion(summary),
        [
            Section("Separation", tables=[separation_table(separations)], figures=[roc, curve]),
            Section(
                "Significance and limits",
                [YIELDS_AND_MODELS],
                [
                    ratio_table(table),
                    *(results_table(table, origin, quantity) for quantity in LABELS for origin in (PUBLISHED, OWN)),
                    growth_table(summary["growth"]),
                    scan_table(summary["scan_of_shares"]),
                ],
                measured,
            ),
            Section("Scores in the bins of the fit", figures=scores),
            Section("Events", tables=[events_table(summary), assignment_table(summary["assignments"])]),
        ],
        warnings(separations, table),
    )


LABELS = {
    "significance": "significance (σ)",
    "mu_limit": "95% CLs limit on μ",
    "cross_section_limit": "limit on σ(ttH) (pb)",
}


def warnings(separations: dict[str, Any], table: dict[str, Any]) -> list[str]:
    """One for each discriminant that separates nothing: an AUC within two errors of 0.5, or all events in one bin of the fit."""
    found = []
    for name, entry in separations.items():
        auc, error = entry["auc"]
        why = []
        if auc - 2 * error <= NO_SEPARATION:
            why.append(f"its AUC is {_with_error(entry['auc'], 3)}, and {NO_SEPARATION} is no separation")
        if len(table[name]["edges"]) <= 2:
            why.append("all events are in one bin of the fit")
        if why:
            found.append(
                f"{name_of(name)} does not separate ttH from ttbb: {'; '.join(why)}. Its significance and limits are those of "
                "counting events. Train on more events: leave out --quick, or give a fileset with more files."
            )
    return found


def conclusion(summary: dict[str, Any]) -> str:
    """What the numbers of this run say, in one paragraph."""
    ranked = sorted(summary["separation"].items(), key=lambda item: -item[1]["auc"][0])
    names = ", ".join(f"{name_of(name)} {_with_error(entry['auc'], 3)}" for name, entry in ranked)
    best = ranked[0][0]
    parts = [
        f"{_with_error(summary['table_2'][best][origin]['Run 2'][model]['significance'], 2)} σ ({YIELD_NAMES[origin]}, {model})"
        for origin in (PUBLISHED, OWN)
        for model in MODELS
    ]
    significance = f"Expected significance of {name_of(best)} in Run 2: {', '.join(parts)}."
    return f"Area under the ROC curve, best first: {names}. {significance}"


def separation_table(separations: dict[str, Any]) -> Table:
    """AUC and rejections."""
    quoted = list(next(iter(separations.values()))["rejection"])
    rows = [
        [
            name_of(name),
            _with_error(entry["auc"], 3),
            _with_error(entry["difference"], 3),
            *(_with_error(entry["rejection"][e], 2) for e in quoted),
        ]
        for name, entry in separations.items()
    ]
    header = ["discriminant", "AUC", "less that of the first", *(f"at {float(e):.0%}" for e in quoted)]
    note = (
        "AUC: area under the ROC curve. Last columns: 1 / efficiency for ttbb where the efficiency for ttH is as given."
    )
    return Table("Separation of ttH and ttbb in the events of the fit", header, rows, note)


def results_table(table: dict[str, Any], origin: str, quantity: str) -> Table:
    """Table 2 for one kind of yields: both runs, both models, and the published numbers."""
    header = ["discriminant"]
    for run in RUNS:
        header += [*(f"{run}, {model}" for model in MODELS), f"{run}, published"]
    digits = 2 if quantity == "significance" else 3
    rows = []
    for name, entry in table.items():
        row = [name_of(name)]
        for run in RUNS:
            known = published(name, run)
            row += [_with_error(entry[origin][run][model][quantity], digits) for model in MODELS]
            row.append("–" if known is None else f"{known[quantity]:g}")
        rows.append(row)
    return Table(f"{LABELS[quantity][0].upper()}{LABELS[quantity][1:]}, {YIELD_NAMES[origin]}", header, rows)


def ratio_table(table: dict[str, Any]) -> Table:
    """Significance over that of the first discriminant, which hardly depends on the yields."""
    first = next(iter(table))
    header = ["discriminant"]
    rows = [[name_of(name)] for name in table]
    for run in RUNS:
        header += [*(f"{run}, {model}" for model in MODELS), f"{run}, published"]
        for row, (name, entry) in zip(rows, table.items(), strict=True):
            row += [_with_error(entry[PUBLISHED][run][model]["ratio"], 2) for model in MODELS]
            known, reference = published(name, run), published(first, run)
            row.append(f"{known['significance'] / reference['significance']:.2f}" if known and reference else "–")
    note = "Errors are those of the ratio. Published numbers are rounded to 0.1 σ, so their ratios to 0.05."
    return Table(f"Significance over that of {name_of(first)}, published yields", header, rows, note)


def growth_table(growth: dict[str, dict[str, float]]) -> Table:
    """Run 3 over Run 2."""
    columns = list(next(iter(growth.values())))
    rows = []
    for name, entry in growth.items():
        known = [published(name, run) for run in RUNS]
        ratio = known[1]["significance"] / known[0]["significance"] if known[0] and known[1] else None
        rows.append([name_of(name), *(f"{entry[c]:.2f}" for c in columns), "–" if ratio is None else f"{ratio:.2f}"])
    header = ["discriminant", *columns, "published"]
    return Table(
        "Significance in Run 3 over that in Run 2, by model and uncertainty in Run 3, published yields", header, rows
    )


def scan_table(scan: dict[str, Any]) -> Table:
    """Significance against the shares of the automatic binning."""
    rows = [
        [f"{row['z_signal']:g} + {row['z_background']:g}", f"{row['bins']}", *(f"{row[model]:.3f}" for model in MODELS)]
        for row in scan["rows"]
    ]
    caption = (
        f"Significance of {name_of(scan['discriminant'])} in Run 2 with our yields, by shares of the automatic binning"
    )
    return Table(caption, ["z_s + z_b", "bins", *MODELS], rows)


def events_table(summary: dict[str, Any]) -> Table:
    """Simulated events, and expected ones."""
    rows = [
        [
            name,
            *(f"{entry[key]:,}" for key in ("read", "selected", "train", "validation", "fit")),
            ", ".join(entry["files"]),
        ]
        for name, entry in summary["events"].items()
    ]
    expected = summary["expected_events_at_140_fb"]
    note = "; ".join(
        f"{YIELD_NAMES[origin]}: {expected['signal'][origin]:,.0f} ttH and {expected['background'][origin]:,.0f} ttbb events"
        for origin in expected["signal"]
    )
    header = ["dataset", "read", "selected", "train", "validation", "fit", "files"]
    return Table("Simulated events, at least 6 jets and 4 b tags", header, rows, f"Expected at 140 fb⁻¹, {note}.")


def assignment_table(assignments: dict[str, Any]) -> Table:
    """Right assignments."""
    columns = list(next(iter(assignments.values())))
    rows = [
        [NAMES.get(method, method), *(_with_error([100 * x for x in entry[c]], 1) for c in columns)]
        for method, entry in assignments.items()
    ]
    header = ["method", "whole events", *columns[1:]]
    return Table(
        "Right assignments in ttH (%), of the targets that can be found; whole events: of those with all", header, rows
    )


def _with_error(pair: list[float], digits: int) -> str:
    return f"{pair[0]:.{digits}f} ± {pair[1]:.{digits}f}"

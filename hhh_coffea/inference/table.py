"""The result of a fit as tables of at most 80 columns."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hhh_coffea.inference.fit import FitResult
from hhh_coffea.inference.yields import RegionYields

WIDTH = 80
LARGEST_PULLS = 8
MODELS = {
    "shapesys": "background free in each bin",
    "normsys": "one background normalisation",
    "normsys_both": "background and signal normalisation",
}


def fit_table(result: FitResult) -> Group:
    """Significance, limits and best fit; yields of each region; the largest pulls; warnings."""
    parts: list[Table | Text] = [_results(result), *(_yields(result, name) for name in result.prefit)]
    if result.options.unblind and result.pulls:
        parts.append(_pulls(result))
    parts += [Text(f"warning: {warning}", style="yellow") for warning in result.warnings]
    return Group(*parts)


def _results(result: FitResult) -> Table:
    kind = "observed events" if result.options.unblind else "Asimov data, μ = 1"
    table = _table(f"Signal: {' + '.join(result.templates.signals)} ({kind})", ("quantity",), ("expected", "observed"))
    seen, limits, fit = result.observed_significance, result.limits, result.best_fit
    table.add_row("discovery significance [σ]", number(result.significance), "" if seen is None else number(seen))
    confidence = f"{100 * limits.level:g}%"
    observed = "" if limits.observed is None else number(limits.observed)
    table.add_row(f"upper limit on μ, {confidence} CLs", number(limits.median), observed)
    low2, low1, _, high1, high2 = (number(limit) for limit in limits.expected)
    table.add_row("  68% of experiments", f"{low1} to {high1}", "")
    table.add_row("  95% of experiments", f"{low2} to {high2}", "")
    errors = f"± {number(fit.mu_error)}"
    if fit.mu_errors is not None:
        errors = f"−{number(-fit.mu_errors[0])} +{number(fit.mu_errors[1])}"
    best = f"{number(fit.mu)} {errors}"
    table.add_row("best fit μ", *(("", best) if result.options.unblind else (best, "")))
    for name, (significance, limit) in result.alternatives.items():
        table.add_section()
        table.add_row(f"{MODELS[name]}: significance [σ]", number(significance), "")
        table.add_row(f"{MODELS[name]}: limit on μ", number(limit), "")
    return table


def _yields(result: FitResult, region: str) -> Table:
    before, after = result.prefit[region], result.postfit[region]
    columns = ("before the fit", "after the fit") if result.options.unblind else ("expected events",)
    table = _table(f"Region {region}", ("process",), columns)
    for process in before.processes:
        values = [number(y.processes[process].sum()) for y in (before, after)]
        table.add_row(process, *values[: len(columns)])
    table.add_section()
    totals = [f"{number(_total(y))} ± {number(y.total_error)}" for y in (before, after)]
    table.add_row("sum", *totals[: len(columns)])
    if result.options.unblind:
        table.add_row("observed", number(before.data.sum()), "")
    return table


def _total(yields: RegionYields) -> float:
    return float(sum(values.sum() for values in yields.processes.values()))


def _pulls(result: FitResult) -> Table:
    table = _table("Largest pulls", ("nuisance parameter",), ("pull", "error after / before"))
    for pull in sorted(result.pulls, key=lambda p: -abs(p.pull))[:LARGEST_PULLS]:
        table.add_row(pull.name, f"{pull.pull:+.2f}", f"{pull.constraint:.2f}")
    return table


def number(value: float) -> str:
    """Three significant digits, all digits before the point; powers of ten beyond a million and below 0.001."""
    size = abs(value)
    if size == 0 or not size < float("inf"):
        return f"{value:g}"
    if size >= 1e6 or size < 1e-3:
        return f"{value:.2e}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if size >= 1 else 3}f}" if size < 10 else f"{value:.1f}"


def _table(title: str, names: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", width=WIDTH)
    for name in names:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table

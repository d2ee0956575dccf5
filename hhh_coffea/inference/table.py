"""The result of a fit as tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hhh_coffea.inference.couplings.scans import LikelihoodScan, LimitScan
from hhh_coffea.inference.fit import FitResult
from hhh_coffea.inference.yields import RegionYields

WIDTH = 80
LARGEST_PULLS = 8
OTHER_ROWS = (
    "The first row of a method is its result, with the model of --background-model; the other row shows how much the result "
    "depends on this model. "
)
MODELS = {
    "shapesys": "per bin",
    "normsys": "in total",
    "normsys_both": "in total, signal too",
}


def methods_table(results: Mapping[str, FitResult], observable: str = "") -> Table:
    """For each method and model of the background: significance and limit, expected, and observed where data are fitted."""
    first = next(iter(results.values()))
    observed = any(result.options.unblind for result in results.values())
    title = (
        f"signal {' + '.join(first.templates.signals)}, {first.templates.luminosity:,g} fb⁻¹, expected (Asimov data)"
    )
    if observable:
        title += f"\nobservable {observable}".replace("[", r"\[")
    level = f"{100 * first.limits.level:g}%"
    numbers = (
        "significance",
        f"limit on μ, {level}",
        "68%" if observed else "68% of experiments",
        *(["observed"] * observed),
    )
    table = _table(title, ("method", "background ±"), numbers)
    table.columns[1].no_wrap = True
    ranks = "rank: candidates by falling pT, 0 is the leading one. " if "rank=" in observable else ""
    table.caption = ranks + (
        "μ: signal strength, the rate of the signal in units of its expected rate; limit: upper limit by CLs. Background ±: "
        "uncertainty of the background, independent per bin or one in total. "
        + OTHER_ROWS * any(result.alternatives for result in results.values())
        + "Expected events, best fit and pulls: table.txt, or --verbose"
    )
    table.caption_justify = "left"
    for method, result in results.items():
        own = (result.significance, result.limits)
        models = {result.options.model.background_model: own, **result.alternatives}
        for row, (model, (significance, limits)) in enumerate(models.items()):
            _, low, median, high, _ = limits.expected
            cells = [f"{number(significance)} σ", number(median), f"{number(low)} to {number(high)}"]
            if observed:
                cells.append("" if limits.observed is None else number(limits.observed))
            table.add_row("" if row else method, _uncertainty(result, model), *cells)
    return table


def _uncertainty(result: FitResult, model: str) -> str:
    return uncertainty(result.options.model.background_uncertainty, model)


def uncertainty(fraction: float, model: str) -> str:
    """``10% per bin``: the uncertainty of the background in a model."""
    return f"{100 * fraction:g}% {MODELS[model]}"


def couplings_table(
    limits: Mapping[str, Mapping[str, LimitScan]], likelihoods: Mapping[str, Mapping[str, LikelihoodScan]]
) -> Table:
    """One row for each method and coupling: intervals of the likelihood, and where the limit on σ/σ(κ) is above 1.

    An interval that ends where the scan ends is open there.
    """
    level = next(iter(next(iter(limits.values())).values())).level
    table = _table("Self-couplings", ("method", "coupling"), ("68%", "95%", f"{100 * level:g}% CLs"), fold=False)
    for method, scans in limits.items():
        for name, scan in scans.items():
            ends = float(scan.points[:, 0].min()), float(scan.points[:, 0].max())
            intervals = likelihoods[method][name].intervals()
            cells = [_intervals(some, ends) for some in (intervals["68%"], intervals["95%"], scan.allowed())]
            table.add_row(method, name, *cells)
    return table


def _intervals(found: list[tuple[float, float]], ends: tuple[float, float]) -> str:
    """``−1.2 to 4.5``, several after each other, or that the scan is too short."""
    if found == [ends]:
        return f"all of {ends[0]:g} to {ends[1]:g}"
    texts = []
    for low, high in found:
        first = f"< {number(low)}" if low == ends[0] else number(low)
        last = f"> {number(high)}" if high == ends[1] else number(high)
        texts.append(f"{first} to {last}")
    return ", ".join(texts) or "none"


def fit_table(result: FitResult, method: str = "") -> Group:
    """Significance, limits and best fit; yields of each region; the largest pulls."""
    parts: list[Table | Text] = [_results(result, method), *(_yields(result, name) for name in result.prefit)]
    if result.options.unblind and result.pulls:
        parts.append(_pulls(result))
    return Group(*parts)


def _results(result: FitResult, method: str) -> Table:
    unblind = result.options.unblind
    kind = "observed events" if unblind else "Asimov data, μ = 1"
    title = f"{method}: " * bool(method) + f"signal {' + '.join(result.templates.signals)} ({kind})"
    table = _table(title, ("quantity",), ("expected", "observed") if unblind else ("expected",))

    def row(name: str, expected: str, observed: str = "") -> None:
        table.add_row(name, expected, *([observed] * unblind))

    seen, limits, fit = result.observed_significance, result.limits, result.best_fit
    row("discovery significance [σ]", number(result.significance), "" if seen is None else number(seen))
    observed = "" if limits.observed is None else number(limits.observed)
    row(f"upper limit on μ, {100 * limits.level:g}% CLs", number(limits.median), observed)
    low2, low1, _, high1, high2 = (number(limit) for limit in limits.expected)
    row("  68% of experiments", f"{low1} to {high1}")
    row("  95% of experiments", f"{low2} to {high2}")
    errors = f"± {number(fit.mu_error)}"
    if fit.mu_errors is not None:
        errors = f"−{number(-fit.mu_errors[0])} +{number(fit.mu_errors[1])}"
    best = f"{number(fit.mu)} {errors}"
    row("best fit μ", *(("", best) if unblind else (best, "")))
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
    """Three significant digits, all digits before the point; powers of ten beyond a million and below 0.0001."""
    size = abs(value)
    if size == 0 or not size < float("inf"):
        return f"{value:g}"
    if size >= 1e6 or size < 1e-4:
        return f"{value:.2e}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".removesuffix(".")


def _table(title: str, names: tuple[str, ...], numbers: tuple[str, ...], fold: bool = True) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", width=WIDTH, box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=not fold)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=fold)
    return table

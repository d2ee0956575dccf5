"""The report page of the study, and its summary."""

from __future__ import annotations

from typing import Any

from hhh_coffea.figures.report.page import Figure, Page, Section, Table
from hhh_coffea.study.quality import NAMES as QUALITIES
from hhh_coffea.study.study import Study
from hhh_coffea.study.zprime import figures
from hhh_coffea.study.zprime.analysis import FEWEST, HALF_WINDOW, SCENARIOS
from hhh_coffea.study.zprime.events import BACKGROUND, REGRESSED, ROLES
from hhh_coffea.study.zprime.program import Inputs
from hhh_coffea.study.zprime.published import CUTS, TABLE_3

TITLE = "Z′ → tt̄"
SOURCE = "M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886: Table 3, Figure 2, Supplementary Figure 3"
COMPARISON = (
    "The cross section of each mass is chosen such that SPANet without regression has the published significance at "
    "{luminosity}; the paper does not give it. All other numbers are results. Errors are those of the comparison with "
    "that column: bootstrap samples of the simulated events, with the cross section chosen in each. Significances are local."
)
OTHER_CUTS = (
    "Local significance [published] with the published cuts instead: 0.43 on the score of the permutation network, 0.078 on the "
    "marginal probability of SPANet; the cross section is chosen again"
)
SPECTRA = (
    "Spectra at {luminosity} after each method's cut, signals at the cross sections of the table. Bins with fewer than "
    "{fewest} simulated background events are merged; the overflow is in the fit."
)
CUTTING = (
    "{share} of the signal events and of the tt̄ events with m_t from 166 to 176 GeV, chosen by a hash, are used for the "
    "cuts and for nothing else. For each mass the cut maximises S/√B within {window} GeV; the mean of the three is used. "
    "The likelihood has no cut, as published."
)
SCULPTING = (
    "The earth mover's distance between reconstructed and generated m(tt̄) of the same tt̄ events (m_t = 173 GeV, not used "
    "by any training). After the cuts the generated masses are those of the events that pass."
)
NEUTRINO = (
    "η of the neutrino in tt̄ events, from m(ℓν) = 80.37 GeV or regressed by the network. With the constraint m(ℓν) is "
    "above 80.37 GeV where p_z has no real solution."
)


def write(study: Study, inputs: Inputs, summary: dict[str, Any]) -> int:
    """Draw, write the page, print the table of significances; returns the exit code."""
    draw = study.figures
    significance, cuts = summary["significance"], summary["cuts"]
    rows = inputs.table[BACKGROUND]
    masses = {m: inputs.rows(BACKGROUND, m, "fit") for m in inputs.methods}
    passing = {m: found.passing(cuts[m]["cut"]) for m, found in masses.items()}
    uncertainty = SCENARIOS["140"][1]
    drawn = {
        "significance": figures.draw_significance(draw, significance["masses"]),
        "spectra": figures.draw_spectra(draw, significance["spectra"], uncertainty),
        "cuts": figures.draw_cuts(draw, cuts),
        "sculpting": figures.draw_sculpting(
            draw, {m: r.mass for m, r in masses.items()}, rows["true_mtt"], passing, summary["sculpting"]
        ),
        "neutrino": figures.draw_neutrino(draw, rows, summary["neutrino"]),
    }
    table = significance_table(significance)
    study.show(table)
    page = Page(TITLE, SOURCE, conclusion(significance, summary["sculpting"]))
    lumi = f"{SCENARIOS['140'][0]:g} fb⁻¹"
    page.sections = [
        Section(
            "Significance",
            [COMPARISON.format(luminosity=lumi)],
            [
                table,
                significance_table(summary["significance_published_cuts"], OTHER_CUTS),
                _cross_sections(significance),
            ],
            [
                Figure(drawn["significance"], "Local significance; stars are published."),
                Figure(drawn["spectra"], SPECTRA.format(luminosity=lumi, fewest=FEWEST)),
            ],
        ),
        Section(
            "Quality cuts",
            [CUTTING.format(share=f"{ROLES['tuning']:.0%}", window=f"{HALF_WINDOW:g}")],
            [_cut_table(summary)],
            [Figure(drawn["cuts"], "Gain of a cut. Vertical lines are the cuts that are used.")],
        ),
        Section(
            "Sculpting of m(tt̄)",
            [SCULPTING],
            [_sculpting_table(summary["sculpting"])],
            [Figure(drawn["sculpting"], "m(tt̄) before and after the cuts.")],
        ),
        Section(
            "The neutrino",
            [NEUTRINO],
            [_neutrino_table(summary["neutrino"])],
            [Figure(drawn["neutrino"], "η of the neutrino, its residual, and m(ℓν).")],
        ),
    ]
    return study.finish(page, summary)


def conclusion(significance: dict[str, Any], sculpting: dict[str, Any]) -> str:
    """The first paragraph: what can be concluded from these numbers."""
    reference = significance["reference"]
    others = [m for m in significance["spectra"] if m != reference]
    said = []
    for method in others:
        ratios = [
            entry["z"][method]["140"][0] / entry["z"][reference]["140"][0] for entry in significance["masses"].values()
        ]
        said.append(f"{_plain(method)} {min(ratios):.2f} to {max(ratios):.2f}")
    after = {m: entry["after"]["emd"] for m, entry in sculpting.items()}
    best = min(after, key=lambda m: after[m][0])
    text = f"Relative to the significance of {_plain(reference)}, the others reach: {', '.join(said)}. " if said else ""
    return (
        f"{text}After the cuts the reconstructed m(tt̄) of tt̄ events is nearest to the generated one with {_plain(best)}: earth "
        f"mover's distance {after[best][0]:.1f} ± {after[best][1]:.1f} GeV."
    )


def _plain(method: str) -> str:
    return figures.name_of(method).replace("$\\eta_\\nu$", "η of the neutrino")


def significance_table(significance: dict[str, Any], caption: str = "Local significance [published]") -> Table:
    """Table 3: ours ± error and published in brackets, both scenarios."""
    methods = list(significance["spectra"])
    rows = []
    for mass, entry in significance["masses"].items():
        for i, scenario in enumerate(SCENARIOS):
            cells = [f"{mass} GeV, {scenario} fb⁻¹"]
            for method in methods:
                value, error = entry["z"][method][scenario]
                known = TABLE_3.get(float(mass), {}).get(method)
                published = f" [{known[i]:.1f}]" if known else ""
                spread = f" ± {error:.2f}" if error > 1e-4 else ""
                cells.append(f"{value:.2f}{spread}{published}")
            rows.append(cells)
    return Table(caption, ["", *map(_plain, methods)], rows)


def _cross_sections(significance: dict[str, Any]) -> Table:
    rows = [
        [f"{mass} GeV", f"{entry['cross_section_in_acceptance_fb']:.0f}"]
        for mass, entry in significance["masses"].items()
    ]
    note = "Z′ events in its files: after the generator's filters and the selection of events that are written."
    return Table("Cross section times branching fraction times acceptance (fb)", ["mass", "fb"], rows, note)


def _cut_table(summary: dict[str, Any]) -> Table:
    rows = []
    for method, entry in summary["cuts"].items():
        if method == REGRESSED:
            continue
        cut = "none" if entry["cut"] is None else f"{entry['cut']:.3g}"
        best = ", ".join(f"{mass}: {value:.3g}" for mass, value in entry["best"].items())
        published = f"{CUTS[method]:g}" if method in CUTS else "none"
        sculpting = summary["sculpting"][method]
        left = sculpting["after"]["events"] / sculpting["before"]["events"]
        rows.append([_plain(method), QUALITIES.get(method, ""), best, cut, f"{left:.0%}", published])
    return Table("Quality cuts", ["method", "quality", "best cuts", "used", "tt̄ that passes", "published"], rows)


def _sculpting_table(sculpting: dict[str, Any]) -> Table:
    rows = []
    for method, entry in sculpting.items():
        before, after = entry["before"], entry["after"]
        rows.append(
            [
                _plain(method),
                *(f"{stage['emd'][0]:.1f} ± {stage['emd'][1]:.1f}" for stage in (before, after)),
                *(f"{stage['half_width']:.0f}" for stage in (before, after)),
                f"{after['events'] / before['events']:.0%}",
            ]
        )
    header = ["method", "EMD before", "EMD after", "68% before", "68% after", "events that pass"]
    note = "68%: half the central 68% of reconstructed less generated mass."
    return Table("Earth mover's distance and width of the residual (GeV)", header, rows, note)


def _neutrino_table(neutrino: dict[str, Any]) -> Table:
    rows = [
        [kind, *(f"{entry[name]:.3f}" for name in ("half_width", "rms")), f"{entry['median']:+.3f}"]
        for kind, entry in neutrino.items()
        if isinstance(entry, dict)
    ]
    note = f"{neutrino['events']:,} tt̄ events without τ; p_z has a real solution in {neutrino['real_solutions']:.0%} of all."
    return Table("Residual of the neutrino's η", ["", "half of the central 68%", "RMS", "median"], rows, note)

"""What each figure of a results directory shows, by its name: the captions of the report."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hhh_coffea.figures.style import CATEGORY_NAMES, NAMES

_DEFINITION = {"default": "our definitions", "reference": "the published definitions (arXiv:2412.03819)"}
FIT_CAPTIONS: tuple[tuple[str, str], ...] = (
    (r"methods", "Upper limit on the signal strength μ of each method, and the expected discovery significance."),
    (
        r"limits_(?P<coupling>\w+)",
        (
            "Upper limit on the cross section, relative to the cross section at each value of {coupling}. If it is below 1, the "
            "value is excluded."
        ),
    ),
    (r"likelihood_(?P<coupling>\w+)", "−2Δ ln L over {coupling}, with a signal of strength 1."),
    (r"contours", "Contours of 68% (full) and 95% (dashed) in two self-couplings; the star is the assumed point."),
    (
        r"effective_events_(?P<coupling>\w+)",
        (
            "Effective number of simulated events after reweighting to each value of {coupling}. If it is small, the template "
            "is not reliable."
        ),
    ),
    (
        r"prefit_(?P<region>.+)",
        "Expected events by process, with their uncertainty before the fit. Below: the added signal, or data.",
    ),
    (r"postfit_(?P<region>.+)", "Events by process after the fit, with their uncertainty, and data."),
    (
        r"pulls",
        (
            "Nuisance parameters after the fit, in units of their uncertainty before it. A bar shorter than 1 means that the fit "
            "constrains the parameter."
        ),
    ),
    (r"scan_mu", "−2Δ ln L over the signal strength μ; all other parameters are fitted."),
)
_METHODS = {name.replace(":", "_"): text for name, text in NAMES.items()}  # as in the names of files
# pattern of the figure's name, the kind under which the report folds it, caption; in the order of the report
_CAPTIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"(?P<definition>default|reference)_purity_efficiency_(?P<category>\w+)",
        "Purity and efficiency",
        (
            "Purity against the pT of the candidate (left) and efficiency against the pT of the generated particle (right), "
            "{category}, in {definition}. Bins have at least 50 GeV and five entries; the last bin has all values above 1000 "
            "GeV. Points of several methods are side by side in their bin, which the thin lines show. Bars: 68.27% "
            "Clopper–Pearson intervals. Light dashed lines, if any: published curves."
        ),
    ),
    (
        r"(?P<definition>default|reference)_confusion_(?P<method>.+)",
        "Which kinds were found",
        (
            "Events by the numbers of targets of each kind (rows) and of candidates of {method} of each kind (columns), in "
            "{definition}: share of the row, number of events in brackets. Only complete events, with as many "
            "targets and as many candidates as particles."
        ),
    ),
    (
        r"(?P<definition>default|reference)_generated_pt",
        "Generated particles",
        (
            "pT of the generated particles in the selected events: all, those with a target of each kind, and the shares "
            "(below), in {definition}. If the kinds are different particles, each share is that of the generated particles "
            "of its kind: over all pT it is what the tables say can be found."
        ),
    ),
    (
        r"(?P<definition>default|reference)_target_mass",
        "Generated particles",
        (
            "Mass of the objects that make the targets, in {definition}, normalised; on the left the generated masses, if they "
            "are not all the same. Kinds with fewer than 50 targets are not drawn."
        ),
    ),
    (
        r"candidate_mass_(?P<method>.+)",  # perhaps with a kind before the method
        "Candidate masses",
        (
            "Mass of the {category}candidates of {method} that survive overlap removal. If there is truth, correct and wrong "
            "ones are stacked. Bins are joined where there are few candidates."
        ),
    ),
    (
        r"mass_plane_(?P<method>.+)",
        "Mass plane",
        (
            "Selected events by the masses of the two candidates of {method}, that of larger pT on the horizontal axis. The "
            "circles are the borders of the regions."
        ),
    ),
    (
        r"mass_sculpting_(?P<category>\w+)",
        "Mass sculpting",
        (
            "Shape of the candidate mass in background, {category}, all methods, normalised. A peak at the mass of the particle "
            "is an effect of the method (mass sculpting)."
        ),
    ),
    (
        r"(?P<definition>default|reference)_sculpting_(?P<category>[a-z]+)(_\d+)?",
        "Mass sculpting",
        (
            "Mass of the surviving candidates in background ({category}, in {definition}) and of random pairings of the same "
            "jets (dashed), normalised; below, their ratio. A peak in the grey band is an effect of the method (mass sculpting)."
        ),
    ),
    (
        r"systematics_(?P<method>.+)_(?P<category>[^_]+)_with_(?P<source>.+)",
        "Systematic variations",
        (
            "Mass of the {category} candidates of {method}, nominal and with {source} varied up and down, and the ratios to "
            "nominal; grey: statistical error."
        ),
    ),
    (
        r"(?P<definition>default|reference)_bdt_(scan|trade_off)",
        "Working points",
        "χ² + BDT at every working point of the BDT, in {definition}: purity and efficiency.",
    ),
    (
        r"efficiency_(?P<source>.+)",
        "Efficiency",
        (
            "Share of correct assignments among targets that can be found, against the {source}, for all methods. "
            "Event: all targets that can be found are correct. Bars: 68.27% Clopper–Pearson intervals."
        ),
    ),
    (
        r"spectrum_(?P<source>.+?)_by_(?P<method>.+)",
        "Distributions by method",
        (
            "Distribution of the {source} with {method}, stacked by outcome: the assignment is correct, or it is wrong, or the "
            "target is not reconstructable because a daughter has no object."
        ),
    ),
    (
        r"spectrum_(?P<source>.+)",
        "Distributions",
        (
            "Distribution of the {source}, the same for all methods. The legend gives the interval of the central 68% and the "
            "root mean square within the axis."
        ),
    ),
    (
        r"assignment_confusion_(?P<method>.+)",
        "Which objects were confused",
        (
            "Objects that {method} assigned to each position (rows) by their true position (columns). "
            "Matched objects of targets that cannot be found have their true position too."
        ),
    ),
    (
        r"stack_.+_mass_(?P<source>\d)_(?P<method>.+)",
        "Expected events",
        (
            "Expected events of all datasets of one analysis: mass of the candidate of {method} with rank {source} in pT, with "
            "the statistical uncertainty of the simulation. The line is the signal, multiplied as the legend says; points are "
            "data."
        ),
    ),
    (
        r"stack_.+",
        "Expected events",
        (
            "Expected events of all datasets of one analysis in a region, with the statistical uncertainty of the simulation. "
            "The line is the signal, multiplied as the legend says; points are data."
        ),
    ),
    (
        r"along_(?P<source>.+)",
        "Along a parameter",
        (
            "Figures of merit against the parameter {source} at which the datasets were generated, all methods. Bars: 68.27% "
            "intervals."
        ),
    ),
    (
        r"multiplicity",
        "Objects in an event",
        "Small- and large-radius jets in an event above threshold, before the requirement on the number of jets.",
    ),
)


# the first there is leads the report: a figure, or the first of a kind
MAIN_FIGURE = "efficiency_number_of_jets"
MAIN_KINDS = ("Purity and efficiency", "Efficiency", "Mass sculpting", "Candidate masses")


def caption(name: str, kinds: Mapping[str, str] | None = None) -> str:
    """Caption of the figure ``dataset/name``; its bare name where nothing is known of it.

    ``kinds`` are those of the targets of the dataset, with what readers call them.
    """
    bare, labels = name.rsplit("/", 1)[-1], {**(kinds or {}), **CATEGORY_NAMES}
    for pattern, _, text in _CAPTIONS:
        if (found := re.fullmatch(pattern, bare)) is not None:
            groups = {"category": "", "method": "", **found.groupdict()}
            category, method = labels.get(groups["category"], groups["category"]), groups["method"]
            if bare.startswith("candidate_mass_"):
                kind = next((kind for kind in kinds or () if method.startswith(f"{kind}_")), "")
                category, method = f"{labels[kind]} " if kind else "", method.removeprefix(f"{kind}_")
            return text.format(
                definition=_DEFINITION.get(groups.get("definition", ""), ""),
                category=category[:1].lower() + category[1:] if category in CATEGORY_NAMES.values() else category,
                source=groups.get("source", "").replace("_", " "),
                method=_METHODS.get(method, method),
            )
    return bare.replace("_", " ")


def kind(name: str) -> str:
    """What kind of figure ``dataset/name`` is, in words; those in the published definitions are kinds of their own."""
    bare = name.rpartition("/")[2]
    own = next((kind for pattern, kind, _ in _CAPTIONS if re.fullmatch(pattern, bare)), "Further figures")
    return f"{own}, published definitions" if bare.startswith("reference_") else own


def fit_caption(name: str) -> str:
    """Caption of a figure of ``hhh fit``; ``name`` may begin with the folder of a method."""
    folder, _, bare = name.rpartition("/")
    for pattern, text in FIT_CAPTIONS:
        if (found := re.fullmatch(pattern, bare)) is not None:
            method = f"{_METHODS.get(folder, folder)}: " if folder else ""
            return method + text.format(**found.groupdict())
    return bare.replace("_", " ")


def fit_order(name: str) -> tuple[str, int, str]:
    """Sort key: first the figures of all methods, then those of each, in the order of the captions."""
    folder, _, bare = name.rpartition("/")
    found = [i for i, (pattern, _) in enumerate(FIT_CAPTIONS) if re.fullmatch(pattern, bare)]
    return folder, found[0] if found else len(FIT_CAPTIONS), bare


def order(name: str) -> tuple[int, str, int, str]:
    """Sort key of the figures of a dataset: as the captions above, ours before the published definitions, merged first."""
    bare = name.rpartition("/")[2]
    for position, (pattern, *_) in enumerate(_CAPTIONS):
        if (found := re.fullmatch(pattern, bare)) is not None:
            groups = found.groupdict()
            category = groups.get("category", "")
            rank = list(CATEGORY_NAMES).index(category) if category in CATEGORY_NAMES else len(CATEGORY_NAMES)
            return position, groups.get("definition", ""), rank, bare
    return len(_CAPTIONS), "", 0, bare

"""What each figure of a results directory shows, by its name: the captions of the report.

What is the same for all figures of a kind stands above them once (:func:`note`); captions say what differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from hhh_coffea.figures.looks.style import CATEGORY_NAMES, DEFINITION_NAMES, NAMES

_METHODS = {name.replace(":", "_"): text for name, text in NAMES.items()}  # as in the names of files
_ANY_METHOD = "|".join(map(re.escape, sorted(_METHODS, key=len, reverse=True)))
_SIGNS = {"p_T": "pT", "\\bar{t}": "t̄", "\\ell": "ℓ", "\\nu": "ν", "\\eta": "η", "$": "", "{": "", "}": "", "\\": ""}
_INTERVALS = "Bars are 68% Clopper–Pearson intervals."
_MERGED = "Merged: resolved and boosted candidates together."
_SIMULATION = "The hatched band is the statistical uncertainty of the simulation."


class _Caption(NamedTuple):
    """``kind`` is what the report folds a figure under whose name matches ``pattern``."""

    pattern: str
    kind: str
    text: str


_OF_DEFINITION = r"(?P<definition>default|reference)_"
# in the order of the report
_CAPTIONS = (
    _Caption(
        _OF_DEFINITION + r"purity_efficiency_(?P<category>\w+)",
        "Purity and efficiency",
        "{category} ({definition}): purity against the pT of the candidate (left), efficiency against the pT of the generated "
        "particle (right).",
    ),
    _Caption(
        _OF_DEFINITION + r"confusion_(?P<method>.+)",
        "Which kinds were found",
        "{method} ({definition}): numbers of targets of each kind (rows) and of candidates of each kind (columns).",
    ),
    _Caption(
        _OF_DEFINITION + r"generated_pt",
        "Generated particles",
        "pT of the generated particles in the selected events and of those with a target ({definition}), and their ratio.",
    ),
    _Caption(
        _OF_DEFINITION + r"target_mass",
        "Generated particles",
        "Mass of the true objects of the targets ({definition}); on the left the generated mass, if it varies.",
    ),
    _Caption(
        r"candidate_mass_(?P<method>.+)",  # perhaps with a kind before the method
        "Candidate masses",
        "{method}: mass of the {category}candidates.",
    ),
    _Caption(
        r"mass_plane_(?P<method>.+)",
        "Mass plane",
        "{method}: masses of the leading and of the subleading candidate.",
    ),
    _Caption(
        r"mass_sculpting_(?P<category>\w+)",
        "Mass sculpting",
        "{category}: shape of the candidate mass in background, all methods.",
    ),
    _Caption(
        _OF_DEFINITION + r"sculpting_(?P<category>[a-z]+)(_(?P<rank>\d+))?",
        "Mass sculpting",
        "{category}{rank} ({definition}): mass of the candidates in background and of random pairings of the same jets "
        "(dotted), and the ratio of the two.",
    ),
    _Caption(
        r"systematics_(?P<method>.+)_(?P<category>[^_]+)_with_(?P<source>.+)",
        "Systematic variations",
        "{method}, {category}: candidate mass, nominal and with {source} varied up and down, and the ratios to nominal.",
    ),
    _Caption(
        _OF_DEFINITION + r"bdt_(scan|trade_off)",
        "Working points",
        "χ² + BDT ({definition}): purity and efficiency at every working point of the BDT.",
    ),
    _Caption(r"efficiency_(?P<source>.+)", "Efficiency", "Efficiency against {source}."),
    _Caption(
        r"spectrum_(?P<source>.+?)_by_(?P<method>.+)",
        "Distributions by method",
        "{method}: {source}.",
    ),
    _Caption(r"spectrum_(?P<source>.+)", "Distributions", "Distribution of {source}."),
    _Caption(
        r"assignment_confusion_(?P<method>.+)",
        "Which objects were confused",
        "{method}: assigned position of objects (rows) and their true position (columns).",
    ),
    _Caption(
        r"stack_.+_mass_(?P<rank>\d)_(?P<method>.+)",
        "Expected events",
        "{method}: mass of the candidate{rank}.",
    ),
    _Caption(rf"stack_(?P<source>.+?)_(?P<method>{_ANY_METHOD})", "Expected events", "{method}: {source}."),
    _Caption(r"stack_(?P<source>.+)", "Expected events", "Expected events in {source}."),
    _Caption(
        r"along_(?P<source>.+)", "Along a parameter", "Against the parameter {source} of the datasets, all methods."
    ),
    _Caption(
        r"multiplicity",
        "Objects in an event",
        "Objects above threshold in an event, before the requirement on the number of jets, with statistical errors.",
    ),
)
_NOTES = {
    "Purity and efficiency": "Purity: share of candidates that are correct. Efficiency: share of targets that are found. Bins "
    "are joined until each method has five entries; the last one has all values above 1000 GeV. Points of several methods are "
    f"side by side in their bin, which the thin lines show. {_INTERVALS}",
    "Which kinds were found": "Each cell has the share of the events of its row, and their number. Only complete events are "
    "counted: those with as many targets and as many candidates as particles.",
    "Generated particles": "A target is made of the objects that match the decay products of a generated particle. Bins with "
    "fewer than five entries are joined with their neighbours. "
    "Shapes are normalised; kinds with fewer than 50 targets are left out.",
    "Candidate masses": "Candidates that survive overlap removal. The axis is the same for all methods. Bins with fewer than "
    f"five entries are joined with their neighbours. {_SIMULATION}",
    "Mass plane": "Selected events. The circles are the borders of the regions.",
    "Mass sculpting": "Shapes are normalised to the candidates within the axis. A peak at the mass of the particle is an "
    "effect of the method (mass sculpting).",
    "Systematic variations": "The hatched band is the statistical uncertainty of the nominal spectrum.",
    "Efficiency": "Share of targets that are assigned correctly, among those that can be found. Event: all targets that can be "
    f"found are correct. {_INTERVALS}",
    "Distributions by method": "Correct: the assignment is right. Wrong: it is not. Not reconstructable: a daughter of the "
    f"target has no object. The axis is the same for all methods. {_SIMULATION}",
    "Distributions": "The same for all methods. The legend gives the central 68% interval and the root mean square within the "
    f"axis. {_SIMULATION}",
    "Which objects were confused": "Each cell has the share of the objects of its row, and their number. Matched objects of "
    "targets that cannot be found have a true position too.",
    "Expected events": "All datasets of one analysis. The line is the signal, multiplied by the factor in the legend; points "
    "are data. Bins are joined until each has five simulated events of signal and of background. The axis is the same for all "
    f"methods. {_SIMULATION}",
    "Along a parameter": _INTERVALS,
}
FIT_CAPTIONS: tuple[tuple[str, str], ...] = (
    (
        r"methods",
        (
            "Expected upper limit on the signal strength μ (median, 68% and 95% of experiments) and expected discovery "
            "significance of each method."
        ),
    ),
    (
        r"limits_(?P<coupling>\w+)",
        (
            "Upper limit on the cross section, relative to the cross section at each value of {coupling}. If it is below 1, the "
            "value is excluded."
        ),
    ),
    (r"likelihood_(?P<coupling>\w+)", "−2Δ ln L over {coupling}, with a signal strength of 1."),
    (r"contours", "Contours of 68% (full) and 95% (dashed) in two self-couplings; the star is the assumed point."),
    (
        r"effective_events_(?P<coupling>\w+)",
        (
            "Effective number of simulated events after reweighting to each value of {coupling}. If it is small, the template is "
            "not reliable."
        ),
    ),
    (
        r"prefit_(?P<region>.+)",
        "Expected events by process, with their uncertainty before the fit (hatched). Below: the added signal, or data.",
    ),
    (r"postfit_(?P<region>.+)", "Events by process after the fit, with their uncertainty (hatched), and data."),
    (
        r"pulls",
        (
            "Nuisance parameters after the fit, in units of their uncertainty before it. A bar shorter than 1 means that the fit "
            "constrains the parameter."
        ),
    ),
    (r"scan_mu", "−2Δ ln L over the signal strength μ ≥ 0; all other parameters are fitted."),
)

# the first there is leads the report: a figure, or the first of a kind
MAIN_FIGURE = "efficiency_number_of_jets"
MAIN_KINDS = ("Purity and efficiency", "Working points", "Efficiency", "Mass sculpting", "Candidate masses")
_RANKS = ("leading in pT", "second in pT", "third in pT", "fourth in pT")


def caption(name: str, kinds: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None) -> str:
    """Caption of the figure ``dataset/name``; its bare name where nothing is known of it.

    ``kinds`` are those of the targets of the dataset, with what readers call them; ``labels`` are what figures write on the
    axis of a quantity, by its name.
    """
    bare = name.rsplit("/", 1)[-1]
    known = _known(bare)
    if known is None:
        return bare.replace("_", " ")
    form, groups = known
    words = {"category": "", "method": "", "definition": "", "source": "", "rank": "", **groups}
    method, category = words["method"], words["category"]
    if bare.startswith("candidate_mass_"):
        kind_of = next((kind for kind in kinds or () if method.startswith(f"{kind}_")), "")
        category, method = f"{(kinds or {})[kind_of]} " if kind_of else "", method.removeprefix(f"{kind_of}_")
    else:
        known_as = {name: text for name, text in (kinds or {}).items() if text != name}
        category = {**CATEGORY_NAMES, **known_as}.get(category, category)
        if bare.startswith("mass_sculpting_all"):
            category = "All candidates"
    source = (labels or {}).get(words["source"])
    rank = f", {_RANKS[int(words['rank']) - 1]}" if words["rank"] else ""
    together = f" {_MERGED}" if category == CATEGORY_NAMES["merged"] else ""
    text = form.text.format(
        definition=DEFINITION_NAMES.get(words["definition"], ""),
        category=category,
        source=_within(in_words(source) if source else words["source"].replace("_", " ")),
        method=in_words(_METHODS.get(method, method)),
        rank=rank,
    )
    return text + together


def kind(name: str) -> str:
    """What kind of figure ``dataset/name`` is, in words; those in the published definitions are kinds of their own."""
    bare = name.rpartition("/")[2]
    known = _known(bare)
    own = known[0].kind if known else "Further figures"
    return f"{own}, {DEFINITION_NAMES['reference']}" if bare.startswith("reference_") else own


def note(kind_of_figure: str) -> str:
    """What is true of all figures of a :func:`kind`: stands above them."""
    return _NOTES.get(kind_of_figure.partition(", ")[0], "")


def in_words(label: str) -> str:
    """The label of an axis as plain text, without its unit: ``m_tt̄`` for ``$m_{t\\bar{t}}$ [GeV]``."""
    for sign, text in _SIGNS.items():
        label = label.replace(sign, text)
    return label.partition(" [")[0]


def _within(text: str) -> str:
    """Text that begins an axis, as it stands within a sentence: ``number of jets`` for ``Number of jets``."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


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
    known = _known(bare)
    if known is None:
        return len(_CAPTIONS), "", 0, bare
    form, groups = known
    category = groups.get("category", "")
    rank = list(CATEGORY_NAMES).index(category) if category in CATEGORY_NAMES else len(CATEGORY_NAMES)
    return _CAPTIONS.index(form), groups.get("definition", ""), rank, bare


def _known(bare: str) -> tuple[_Caption, dict[str, str]] | None:
    """The caption of a figure, and what the named parts of its pattern stand for."""
    for form in _CAPTIONS:
        if (found := re.fullmatch(form.pattern, bare)) is not None:
            return form, {name: value for name, value in found.groupdict().items() if value is not None}
    return None

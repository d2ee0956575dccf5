"""What each figure of a results directory shows, by its name: the captions of the report."""

from __future__ import annotations

import re

from hhh_coffea.figures.style import CATEGORY_NAMES, NAMES

_DEFINITION = {"default": "our definitions", "reference": "the definitions of arXiv:2412.03819"}
_METHODS = {name.replace(":", "_"): text for name, text in NAMES.items()}  # as in the names of files
# pattern of the figure's name → (place in the report, caption)
_CAPTIONS: tuple[tuple[str, str], ...] = (
    (
        r"(?P<definition>default|reference)_purity_efficiency_(?P<category>\w+)",
        (
            "Purity against the pT of the candidate (left) and efficiency against the pT of the generated particle (right), "
            "{category}, in {definition}. Bins of 50 GeV, the last holds all above 1000 GeV; points of several methods stand "
            "side by side in their bin. Bars: 68.27% Clopper–Pearson intervals; light dashed, if any: published curves."
        ),
    ),
    (
        r"(?P<definition>default|reference)_confusion_(?P<method>.+)",
        (
            "Events by what is there to be found (rows, the numbers of targets of each kind) and what {method} found "
            "(columns), in {definition}: share of the row, number of events in brackets. Complete events only."
        ),
    ),
    (
        r"(?P<definition>default|reference)_generated_pt",
        (
            "pT of the generated particles: all, those with a target of each kind, and the shares of all (below), in "
            "{definition}."
        ),
    ),
    (
        r"(?P<definition>default|reference)_target_mass",
        (
            "Mass of the generated particles with a target (left) and of the objects that make the target (right), in "
            "{definition}, normalised."
        ),
    ),
    (
        r"candidate_mass_(?P<method>.+)",  # perhaps with a kind before the method
        "Mass of the candidates of {method} that survive overlap removal: correct and wrong ones stacked, where there is truth.",
    ),
    (
        r"mass_sculpting_(?P<category>\w+)",
        (
            "Shape of the candidate mass in background, {category}, all methods, normalised: a peak is sculpted by "
            "the method."
        ),
    ),
    (
        r"(?P<definition>default|reference)_sculpting_(?P<category>[a-z]+)(_\d+)?",
        (
            "Mass of the surviving candidates in background ({category}, in {definition}) and of random pairings of the same "
            "jets (dashed), normalised; below, their ratio. A peak in the grey band is sculpted by the method."
        ),
    ),
    (
        r"systematics_(?P<method>.+)_(?P<category>resolved|boosted)_(?P<source>.+)",
        (
            "Mass of the {category} candidates of {method}, nominal and with {source} varied up and down, and the ratios to "
            "nominal; grey: statistical error."
        ),
    ),
    (
        r"(?P<definition>default|reference)_bdt_(scan|trade_off)",
        "χ² + BDT at every working point of the BDT, in {definition}: purity and efficiency.",
    ),
    (
        r"multiplicity",
        "Small-radius and fat jets in an event above threshold, before the requirement on the number of jets.",
    ),
)


def caption(name: str) -> str:
    """Caption of the figure ``dataset/name``; its bare name where nothing is known of it."""
    bare = name.rsplit("/", 1)[-1]
    for pattern, text in _CAPTIONS:
        if (found := re.fullmatch(pattern, bare)) is not None:
            groups = found.groupdict()
            return text.format(
                definition=_DEFINITION.get(groups.get("definition", ""), ""),
                category=CATEGORY_NAMES.get(groups.get("category", ""), groups.get("category", "")).lower(),
                source=groups.get("source", ""),
                method=_METHODS.get(groups.get("method", ""), groups.get("method", "")),
            )
    return bare.replace("_", " ")


def order(name: str) -> tuple[int, str, int, str]:
    """Sort key of the figures of a dataset: as the captions above, ours before the published definitions, merged first."""
    bare = name.rpartition("/")[2]
    for position, (pattern, _) in enumerate(_CAPTIONS):
        if (found := re.fullmatch(pattern, bare)) is not None:
            groups = found.groupdict()
            category = groups.get("category", "")
            rank = list(CATEGORY_NAMES).index(category) if category in CATEGORY_NAMES else len(CATEGORY_NAMES)
            return position, groups.get("definition", ""), rank, bare
    return len(_CAPTIONS), "", 0, bare

"""``report.html``: a results directory in one self-contained page, for a browser and for paper.

Made of the JSON files and of ``plots/*.png`` alone; the template is ``templates/report.html.j2``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hhh_coffea.base.atomic import replacing
from hhh_coffea.figures.report import captions
from hhh_coffea.figures.report.page import image, is_wide, templates
from hhh_coffea.inference.table import uncertainty
from hhh_coffea.results import directory as results
from hhh_coffea.results.console.tables import (
    AS_PUBLISHED,
    CATEGORY_LABELS,
    DEFINITION_TITLES,
    SIGMA_LEFT,
    as_published,
    categories_of,
    count,
    percent,
    short_percent,
)
from hhh_coffea.results.headline import headline_tables, plain
from hhh_coffea.results.quantities import PREFIX
from hhh_coffea.results.special_tables import MEASURED, special_tables

REPORT = "report.html"
Figure = dict[str, Any]  # name, caption, data, wide
DOCS = "https://github.com/hhh-coffea/hhh_coffea/blob/main/docs"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SHORT_SUM = 12  # digits of a SHA-256 sum that tell two models apart
MAIN_FIGURES = 3  # datasets whose main figure leads the report; those of others are under Figures
LISTED_FILES, LISTED_FAILURES = 100, 500  # the others are in provenance.json


def write_report(folder: Path, overlay_published: bool | None = None) -> Path:
    """Write ``report.html`` into a results directory; returns its path.

    ``overlay_published``: put published rows beside ours in the table of assignments; as in the run when None.

    Raises
    ------
    ResultsError
        if one of the JSON files is missing or broken.
    """
    contents = {name: results.read_json(folder / f"{name}.json") for name in ("summary", "cutflow", "provenance")}
    stored = results.read_json(folder / "histograms.json")
    datasets = stored["datasets"]
    assignments = contents["summary"].get("assignments", {})
    if overlay_published is None:
        overlay_published = bool(contents["provenance"]["config"].get("overlay_published"))
    environment = templates()
    environment.filters |= {"count": count, "percent": percent, "number": _number, "short": _short}
    environment.filters |= {"short_percent": short_percent, "sentence": _sentence}
    labels = {name: {kind: plain(info, kind) for kind in info.get("kinds", ())} for name, info in datasets.items()}
    kinds = {name: labels.get(name, {}) for name in contents["provenance"]["datasets"]}
    figures = _figures(folder / "plots", kinds, _labels_of_quantities(stored["histograms"]))
    main_figures = _take_main_figures(figures)
    shown = {"read_as", *(entry for name, entry in MEASURED.items() if name in stored["histograms"])}
    text = environment.get_template("report.html.j2").render(
        **contents,
        definitions=sorted({definition for entry in contents["summary"]["results"].values() for definition in entry}),
        options=_options(contents["provenance"]),
        models=_models(contents["provenance"]["models"]),
        docs=DOCS,
        either_way=any(_seen_twice(info) for info in datasets.values()),
        headline=[
            *special_tables(contents["summary"]["other"], stored["histograms"]),
            *headline_tables(contents["summary"]["results"], assignments, datasets),
        ],
        others=[name for name in contents["summary"]["other"] if name not in shown],
        datasets=datasets,
        plain=plain,
        uncertainty=uncertainty,
        figures=figures,
        main_figures=main_figures,
        note=captions.note,
        sigma_left=SIGMA_LEFT,
        as_published=as_published,
        as_published_words=AS_PUBLISHED,
        categories_of=categories_of,
        published=contents["summary"].get("published_assignments", {}) if overlay_published else {},
        fit=_fit(folder / results.FIT),
        category_labels=CATEGORY_LABELS,
        definition_titles=DEFINITION_TITLES,
        listed_files=LISTED_FILES,
        listed_failures=LISTED_FAILURES,
    )
    with replacing(folder / REPORT) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")  # names of files need not be UTF-8
    return folder / REPORT


def _options(provenance: dict[str, Any]) -> dict[str, str]:
    """The options that were set, in words; of a run that did not record which, those that have a value."""
    config = provenance["config"]
    given = provenance.get("options_set", [key for key, value in config.items() if value not in (None, [], {}, False)])
    return {key: _in_words(config[key]) for key in given if key in config}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        if {"value", "bins", "low", "high"} <= value.keys():  # an observable
            return f"{value['value']}, {value['bins']} bins from {value['low']:g} to {value['high']:g}"
        return "; ".join(f"{name}: {_in_words(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _models(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Model → what is recorded of it, in words."""
    return {
        name: ", ".join(
            f"SHA-256 {value[:SHORT_SUM]}" if key == "sha256" else f"{key.replace('_', ' ')} {_in_words(value)}"
            for key, value in model.items()
            if value is not None and not (key == "name" and name.endswith(value))
        )
        for name, model in models.items()
    }


def _seen_twice(info: dict[str, Any]) -> bool:
    """Whether an analysis can see the same particle as targets of two kinds."""
    return bool(sum(info.get("kinds", {}).values()) > info.get("particles", 0))


def _labels_of_quantities(histograms: dict[str, Any]) -> dict[str, str]:
    """What the axis of each quantity says, by its name."""
    return {
        name.removeprefix(PREFIX): axis["metadata"]["label"]
        for name, histogram in histograms.items()
        if name.startswith(PREFIX)
        for axis in histogram["axes"]
        if axis.get("metadata", {}).get("name") == "value" and axis["metadata"].get("label")
    }


def _figures(
    folder: Path, datasets: dict[str, dict[str, str]], quantities: dict[str, str]
) -> dict[str, dict[str, list[Figure]]]:
    """dataset → kind → figures; those of no dataset come last. ``datasets`` have the labels of the kinds of their targets."""
    names = [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.png")]
    found: dict[str, dict[str, list[Figure]]] = {name: {} for name in datasets}
    for name in sorted(names, key=captions.order):
        dataset = name.split("/", 1)[0]
        caption = captions.caption(name, datasets.get(dataset), quantities)
        figure: Figure = {"name": name, "caption": caption, "data": image(folder / f"{name}.png")}
        figure["wide"] = is_wide(folder / f"{name}.png")
        kinds = found.setdefault(dataset if dataset in datasets else "", {})
        kinds.setdefault(captions.kind(name), []).append(figure)
    return {dataset: kinds for dataset, kinds in found.items() if kinds}


def _take_main_figures(figures: dict[str, dict[str, list[Figure]]]) -> list[Figure]:
    """Take out the figures that belong below the first tables: the same one of the first datasets that have it."""

    def lead(figure: Figure, kind: str, wanted: str) -> bool:
        return kind == wanted or bool(figure["name"].endswith(f"/{wanted}"))

    for wanted in (captions.MAIN_FIGURE, *captions.MAIN_KINDS):
        found: list[Figure] = []
        for dataset, kinds in figures.items():
            places = [(group, f) for kind, group in kinds.items() for f in group if lead(f, kind, wanted)]
            if places and len(found) < MAIN_FIGURES:
                group, figure = places[0]
                group.remove(figure)
                found.append({**_with_note(figure), "dataset": dataset})
        if found:
            return found
    return []


def _with_note(figure: Figure) -> Figure:
    """A figure that stands by itself: its caption has what is written above those of its kind."""
    words = f"{figure['caption']} {captions.note(captions.kind(figure['name']))}"
    return {**figure, "caption": words.strip()}


def _fit(folder: Path) -> dict[str, Any] | None:
    """What ``hhh fit`` found, with its figures; None where there was no fit."""
    if not (folder / "fit.json").is_file():
        return None
    plots = folder / "plots"
    names = [str(path.relative_to(plots).with_suffix("")) for path in plots.rglob("*.png")]
    figures = [
        {
            "name": name,
            "caption": captions.fit_caption(name),
            "data": image(plots / f"{name}.png"),
            "wide": is_wide(plots / f"{name}.png"),
        }
        for name in sorted(names, key=captions.fit_order)
    ]
    found = results.read_json(folder / "fit.json")
    observed = any(entry["limit"]["observed"] is not None for entry in found["methods"].values())
    return {**found, "figures": figures, "observed": observed}


def _number(value: float | None) -> str:
    return "–" if value is None else _powers(f"{value:,.6g}")


def _short(value: float | None) -> str:
    return "–" if value is None else _powers(f"{value:,.3g}") if abs(value) < 1000 else f"{value:,.0f}"


def _sentence(text: str) -> str:
    """The text with a capital letter first; signs as σ stay as they are, Σ is another."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


def _powers(number: str) -> str:
    """A number as readers write it: ``2.4e-05`` is 2.4 × 10⁻⁵."""
    mantissa, _, exponent = number.partition("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}" if exponent else number

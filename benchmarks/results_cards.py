"""The "Test" section of the model cards, from the same results as docs/results.md."""

from __future__ import annotations

from pathlib import Path

import results_sculpting
from results_page import interval

from hhh_coffea.jobs import tradeoff as sculpting_tradeoff
from hhh_coffea.results import directory as results

HEAD = """## Test

{files}, {events:,} selected events, in %, from `python benchmarks/results.py`;
[docs/results.md](../../docs/results.md) has more. No choice was made on these events. Errors are 68% intervals that
account for the correlation of candidates in one event.

| definitions | method | category | purity | efficiency |
|---|---|---|---|---|
"""
SCULPTING = """## Test

The numbers are from `python benchmarks/results.py`; [docs/results.md](../../docs/results.md) has more. No choice was
made on these events.

"""


def write_cards(models: Path, parts: dict[str, dict[str, Path | str]], masses: Path | None) -> None:
    """Bring up to date the cards of the networks that ran in ``parts``, below ``models``.

    ``masses`` has the results of :mod:`results_sculpting`.
    """
    for dataset, places in parts.items():
        for folder in (places["full"], places["resolved"]):
            if isinstance(folder, Path):
                for model in results.read_json(folder / "provenance.json")["models"].values():
                    if model["name"].startswith("spanet"):
                        write_card(models / model["name"] / "README.md", assignment(folder, dataset))
    if masses is not None:
        for name in (*results_sculpting.CHEAPER, results_sculpting.DECORRELATED):
            write_card(models / name / "README.md", sculpting(masses))


def write_card(card: Path, section: str) -> None:
    """Put ``section`` in the place of the card's "Test" section, its last one."""
    before = card.read_text(encoding="utf-8").partition("## Test")[0].rstrip()
    card.write_text(f"{before}\n\n{section}", encoding="utf-8")


def assignment(folder: Path, dataset: str) -> str:
    """Purity and efficiency of all methods, from a results directory of the comparison."""
    provenance = results.read_json(folder / "provenance.json")
    selected = results.read_json(folder / "cutflow.json")["datasets"][dataset]["cuts"][-1]["events"]
    files = ", ".join(Path(f["file"]).name for f in provenance["files"])
    lines = []
    for definition, methods in sorted(results.read_json(folder / "summary.json")["results"][dataset].items())[::-1]:
        for method, entry in sorted(methods.items()):
            for category in ("merged", "boosted", "resolved"):
                found = entry["categories"].get(category)
                if found is not None and found["purity"]["value"] is not None:
                    cells = " | ".join(interval(found[what]) for what in ("purity", "efficiency"))
                    lines.append(f"| `{definition}` | `{method}` | {category} | {cells} |")
    return HEAD.format(files=files, events=selected) + "\n".join(lines) + "\n"


def sculpting(work: Path) -> str:
    """Correctness and sculpting of the plain and the decorrelated model."""
    return SCULPTING + sculpting_tradeoff.markdown(sculpting_tradeoff.read(work))

"""The part of the comparison about mass sculpting: the plain and the decorrelated networks on background test events."""

from __future__ import annotations

import shutil
from pathlib import Path

from hhh_coffea.config import make_config
from hhh_coffea.figures import results_figures as figures
from hhh_coffea.figures import sculpting as figures_sculpting
from hhh_coffea.jobs import tradeoff as sculpting_tradeoff
from hhh_coffea.jobs.main import run_job
from hhh_coffea.results import directory as results

PLAIN, DECORRELATED = "spanet_hhh", "spanet_hhh_decorrelated"
CHEAPER = (f"{DECORRELATED}_5", f"{DECORRELATED}_10")  # at a cost of 5% and 10% of purity times efficiency
MODELS = (PLAIN, *CHEAPER, DECORRELATED)
METHODS = "chi2,chi2+bdt,spanet"
TEXT = """## Mass sculpting

{files}. The masses of the candidates in background are compared with random pairing of the same jets. [Mass
sculpting](sculpting.md) explains the table and the figures. `{decorrelated}` is `{plain}` with a price on masses in
its decoding, chosen to halve the distance of χ² + BDT; those that end in `_5` and `_10` cost about 5% and 10% of
purity × efficiency. The slope of the price was chosen on validation events, before the test events were used.

"""


def process(fileset: str, models: dict[str, Path], work: Path, device: str) -> None:
    """Run the trade-off of all ``models`` and, for the figures, every method beside the plain and the decorrelated one."""
    sculpting_tradeoff.compare(fileset, [str(model) for model in models.values()], work, device)
    for name in (PLAIN, DECORRELATED):
        options = {"fileset": fileset, "processor": "sculpting", "definitions": "default", "plots": False}
        options |= {"methods": METHODS, "model": str(models[name]), "device": device, "on_error": "stop"}
        if run_job(make_config({**options, "output": str(work / f"shapes_{name}")})):
            raise results.ResultsError(f"{work}: the run with {name} did not go through")


def draw(folder: Path, work: Path) -> list[str]:
    """Draw below ``folder``; names of the figures, in the order of the page."""
    content = sculpting_tradeoff.read(work)
    folder.mkdir(parents=True, exist_ok=True)
    figures_sculpting.draw_tradeoff(work, content)
    shutil.copyfile(work / "tradeoff.png", folder / "sculpting_tradeoff.png")
    names = ["sculpting_tradeoff.png"]
    for name in (PLAIN, DECORRELATED):
        shapes = {path.name: path for path in figures.draw_all(work / f"shapes_{name}", formats=("png",))}
        shutil.copyfile(shapes["default_sculpting_merged"].with_suffix(".png"), folder / f"sculpting_{name}.png")
        names.append(f"sculpting_{name}.png")
    return names


def section(work: Path) -> str:
    """The text and the table."""
    content = sculpting_tradeoff.read(work)
    provenance = results.read_json(work / "runs" / PLAIN / "provenance.json")
    files = ", ".join(Path(f["file"]).name for f in provenance["files"])
    return TEXT.format(files=files, plain=PLAIN, decorrelated=DECORRELATED) + sculpting_tradeoff.markdown(content)

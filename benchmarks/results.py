"""Compare the methods on test files: docs/results.md, docs/results_details.md and their figures.

    python benchmarks/results.py                       # HHH and HH of fileset/bdt_test.json
    python benchmarks/results.py --fileset mine.json --work results/mine --docs mine.md
    python benchmarks/results.py --report-only         # write the pages again from the results in --work

Models are found by name: spanet_hhh and spanet_hhh_resolved for three Higgs bosons, spanet_hh and spanet_hh_resolved
for two. One that is not there is reported as absent. Mass sculpting is measured where spanet_hhh and
spanet_hhh_decorrelated are there. --cards also brings the test sections of the bundled models' cards up to date.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

import results_sculpting
from results_cards import write_cards
from results_figures import draw
from results_page import write_page

from hhh_coffea.base.bundled import find_bundled
from hhh_coffea.config import make_config
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.jobs.main import run_job
from hhh_coffea.results import directory as results

REPOSITORY = Path(__file__).resolve().parent.parent
BASELINES = ("chi2", "chi2+bdt")
SPANET = ("spanet:joint", "spanet:expected", "spanet:reference", "spanet:greedy")
Parts = dict[str, dict[str, Path | str]]  # dataset → part → results directory, or why there is none


def parse() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fileset", default="bdt_test", metavar="JSON", help="signal datasets are compared")
    parser.add_argument(
        "--sculpting", default="sculpting_test", metavar="JSON", help="one signal, one background dataset; '' for none"
    )
    parser.add_argument("--cards", action="store_true", help="write models/*/README.md too")
    parser.add_argument("--datasets", metavar="A[,B]", help="only these")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="look for SPANet models here before the bundled ones"
    )
    parser.add_argument("--work", type=Path, default=REPOSITORY / "results" / "comparison", metavar="DIR")
    parser.add_argument("--docs", type=Path, default=REPOSITORY / "docs" / "results.md", metavar="FILE.md")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-chunks", type=int, metavar="N")
    parser.add_argument("--report-only", action="store_true", help="process nothing, write the pages again")
    return parser.parse_args()


def process(arguments: argparse.Namespace) -> Parts | None:
    """Run every part of every signal dataset; None if events were lost."""
    datasets = load_fileset(arguments.fileset, arguments.datasets.split(",") if arguments.datasets else None)
    parts: Parts = {}
    for name, dataset in datasets.items():
        if not dataset.metadata.is_signal:
            continue
        stem = f"spanet_{dataset.metadata.analysis}"
        options = {"fileset": arguments.fileset, "datasets": (name,), "plots": False}
        options |= {"max_chunks": arguments.max_chunks} if arguments.max_chunks else {}
        parts[name] = {}
        for part, model, baselines in (
            ("full", stem, BASELINES),
            ("resolved", f"{stem}_resolved", BASELINES[:1]),
            ("scan", None, ()),
        ):
            folder = arguments.work / f"{name}_{part}"
            if model is None:
                settings = {"processor": "bdt_scan"}
            else:
                found = find_model(arguments.models, model)
                if found is None and part == "resolved":
                    parts[name][part] = f"model `{model}` is absent"
                    continue
                settings = {"processor": "comparison", "methods": baselines + (SPANET if found else ())}
                settings |= {"model": (str(found),), "device": arguments.device} if found else {}
                if found is None:
                    parts[name]["model"] = f"model `{model}` is absent: baselines only"
            parts[name][part] = folder
            if not arguments.report_only and run_job(make_config({**options, **settings, "output": str(folder)})):
                print(f"error: {folder}: not all events could be processed", file=sys.stderr)
                return None
    return parts


def main() -> int:
    arguments = parse()
    if (parts := process(arguments)) is None:
        return 1
    work = arguments.work / "sculpting"
    found = {n: find_model(arguments.models, n) for n in results_sculpting.MODELS}
    models = {name: path for name, path in found.items() if path is not None}
    whole = bool(arguments.sculpting) and len(models) == len(found)
    if whole and not arguments.report_only:
        results_sculpting.process(arguments.sculpting, models, work, arguments.device)
    figures = arguments.docs.parent / "figures" / arguments.docs.stem
    shutil.rmtree(figures, ignore_errors=True)
    drawn = {name: draw(figures, name, parts[name]) for name in parts}
    masses = (results_sculpting.section(work), results_sculpting.draw(figures, work)) if whole else None
    given = [a for a in sys.argv[1:] if a not in ("--report-only", "--cards")]
    command = shlex.join(["python", "benchmarks/results.py", *given])
    write_page(arguments.docs, command, parts, drawn, masses)
    print(f"wrote {arguments.docs}, {arguments.docs.stem}_details.md beside it, {figures}")
    if arguments.cards:
        write_cards(REPOSITORY / "models", parts, work if whole else None)
    return 0


def find_model(folder: Path | None, name: str) -> Path | None:
    """A model directory below ``folder``, or the bundled one of that name."""
    if folder is not None and (folder / name / "model.yaml").is_file():
        return folder / name
    return find_bundled("models", name)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, results.ResultsError) as error:
        sys.exit(f"error: {error}")

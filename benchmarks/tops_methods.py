"""The table of efficiencies of M. Fenton et al. (Commun. Phys. 7, 139, Table 1) for χ², the likelihood fit and the permutation
network, and their speed.

    python benchmarks/tops_methods.py ../shared/data/tops
    python benchmarks/tops_methods.py ../shared/data/tops --variants
    python benchmarks/tops_methods.py ../shared/data/tops --pdnn models/mine --pdnn models/other

Reads ``tt_test.root`` and ``tth_test.root`` of the folder; all methods see the same selected events, and all semi-leptonic
ones are counted. ``--variants`` adds rows of the likelihood fit with other options, ``--pdnn`` other permutation networks
(of those that do not look for the targets of a file none is used). Percent; the errors are half of 68% intervals. Events per
second are those of one core, in CPU time, without reading; compilation is not in them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from tops import prepared_of

from hhh_coffea.analyses import load_analysis
from hhh_coffea.analyses.tops_published import table_1
from hhh_coffea.engine.chunks import SourceFile, inspect_file, plan_chunks
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.methods.pdnn import load_model
from hhh_coffea.results.assignment_efficiency import efficiencies, of_method
from hhh_coffea.topology.kinds import same_targets

SAMPLES = {"ttbar": "tt_test.root", "tth": "tth_test.root"}


def variants(higgs: bool) -> dict[str, dict[str, Any]]:
    """Other options of the likelihood fit, by what they are called."""
    n = 6 if higgs else 5  # KLFitter's authors advise at most 5 or 6 jets
    return {
        "free top mass": {"free_top_mass": True},
        f"{n} jets": {"max_jets": n},
        "no b tags": {"btag": "none"},
        "veto_tagged_light": {"btag": "veto_tagged_light"},
        "veto_hybrid": {"btag": "veto_hybrid"},
        "with Jacobian": {"jacobian": True},
        "jet masses": {"jet_masses": True},
    }


def cell(row: dict[str, dict[str, float]]) -> str:
    values = (f"{100 * v['value']:.1f} ± {50 * (v['high'] - v['low']):.1f}" for v in row.values())
    return " / ".join(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--functions", default="transfer_functions_delphes", help="transfer functions")
    parser.add_argument("--pdnn", action="append", default=[], metavar="DIR", help="another permutation network")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--methods", default="chi2,likelihood,pdnn")
    parser.add_argument("--kinds", default="ttbar,tth")
    options = parser.parse_args()
    missing = [SAMPLES[kind] for kind in options.kinds.split(",") if not (options.folder / SAMPLES[kind]).is_file()]
    if missing:
        parser.error(f"{options.folder} has no {', '.join(missing)} (docs/training.md, larger samples)")
    torch.set_num_threads(1)
    for kind in options.kinds.split(","):
        analysis = load_analysis(f"{kind}_semileptonic")
        file = inspect_file(SourceFile("d", str(options.folder / SAMPLES[kind]), "Delphes", (), None))
        prepared = prepared_of(plan_chunks([file], chunksize=1 << 30).chunks[0], analysis)
        record, targets = prepared.record, prepared.targets["default"]
        functions = {"transfer_functions": options.functions}
        given: dict[str, dict[str, Any]] = {"chi2": {}, "likelihood": functions, "pdnn": {}}
        rows = {name: (name, given[name]) for name in options.methods.split(",")}
        for name, changes in variants(kind == "tth").items() if options.variants else ():
            rows[f"likelihood, {name}"] = ("likelihood", functions | changes)
        for name in options.pdnn:
            if same_targets(load_model(name).kinds, analysis.kinds):
                rows[f"pdnn, {Path(name).name}"] = ("pdnn", {"model": name})
        print(f"\n{kind}: {len(record):,} events; columns {' / '.join(('event', *analysis.particle_names()))}")
        tables = {}
        for name, (method, own) in rows.items():
            chosen = method_options([method], settings={method: own}, device="cpu")
            reconstruct({"default": [method]}, record[:20], analysis, chosen)  # compiles
            start = time.process_time()
            found = reconstruct({"default": [method]}, record, analysis, chosen)["default"][method]
            rate = len(record) / (time.process_time() - start)
            print(f"{name}: {rate:,.0f} events/s", flush=True)
            tables[name] = efficiencies(of_method(analysis, record, analysis.evaluate(found, targets, "default")))
        published = table_1(kind).rows
        print(f"| events | jets | {' | '.join((*tables, *(f'{name}, published' for name in published)))} |")
        print("|---" * (2 + len(tables) + len(published)) + "|")
        for which in ("all", "full"):
            for column in next(iter(tables.values()))[which]:
                cells = [cell(table[which][column]) for table in tables.values()]
                for values in published.values():
                    cells.append(" / ".join(f"{v:.0f}" for v in values[which][column]))
                print(f"| {which} | {column} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

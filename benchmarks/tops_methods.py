"""The table of efficiencies of M. Fenton et al. (Commun. Phys. 7, 139, Table 1) for χ² and the likelihood fit, and their speed.

    python benchmarks/tops_methods.py ../shared/data/tops
    python benchmarks/tops_methods.py ../shared/data/tops --variants

Reads ``tt_test.root`` and ``tth_test.root`` of the folder; all methods see the same selected events, and all semi-leptonic
ones are counted. ``--variants`` adds rows of the likelihood fit with other options. Percent; the errors are 68% intervals.
Events per second are those of one core, in CPU time, without reading; compilation is not in them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from tops import prepared_of

from hhh_coffea.analyses import load_analysis
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.results.assignment_efficiency import efficiencies, of_method

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--functions", default="transfer_functions_delphes", help="transfer functions")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--kinds", default="ttbar,tth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in options.kinds.split(","):
        analysis = load_analysis(f"{kind}_semileptonic")
        prepared = prepared_of(options.folder / SAMPLES[kind], analysis)
        record, targets = prepared.record, prepared.targets["default"]
        functions = {"transfer_functions": options.functions}
        rows: dict[str, tuple[str, dict[str, Any]]] = {"chi2": ("chi2", {}), "likelihood": ("likelihood", functions)}
        for name, changes in variants(kind == "tth").items() if options.variants else ():
            rows[f"likelihood, {name}"] = ("likelihood", functions | changes)
        print(f"\n{kind}: {len(record):,} events")
        header = " ".join(f"{name:>11}" for name in ("event", *analysis.particle_names()))
        for name, (method, given) in rows.items():
            chosen = method_options([method], settings={method: given})
            reconstruct({"default": [method]}, record[:20], analysis, chosen)  # compiles
            start = time.process_time()
            found = reconstruct({"default": [method]}, record, analysis, chosen)["default"][method]
            rate = len(record) / (time.process_time() - start)
            table = efficiencies(of_method(analysis, record, analysis.evaluate(found, targets, "default")))
            print(f"{name}: {rate:,.0f} events/s\n{'':16}{header}")
            for which in ("all", "full"):
                for column, row in table[which].items():
                    values = (f"{100 * v['value']:6.1f} ±{50 * (v['high'] - v['low']):3.1f}" for v in row.values())
                    print(f"  {which:4} {column:8}  {' '.join(f'{v:>11}' for v in values)}")


if __name__ == "__main__":
    main()

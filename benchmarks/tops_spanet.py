"""SPANet of semi-leptonic tops on the test samples, beside χ² and the likelihood fit: the tables of docs/tops_spanet.md.

    python benchmarks/tops_spanet.py ../shared/data/tops

Reads ``tt_test.root``, ``tth_test.root`` and ``ttbb_test.root`` of the folder. All methods see the same selected events. Tables
are Markdown, numbers percent with 68% intervals: efficiencies of M. Fenton et al., Commun. Phys. 7, 139 (2024), Table 1; η of
the neutrino less the generated one; area under the ROC curve of ttH against ttbb; events per CPU-second without reading.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
import torch
from coffea.nanoevents import NanoEventsFactory

from hhh_coffea.analyses import Analysis, load_analysis
from hhh_coffea.analyses.tops_kinematics import leptonic_w
from hhh_coffea.analyses.tops_truth import truth
from hhh_coffea.base.kinematics import polar
from hhh_coffea.datasets.fileset import DatasetMetadata
from hhh_coffea.events import delphes
from hhh_coffea.methods import method_options, reconstruct
from hhh_coffea.reconstruction.prepare import Prepared, prepare
from hhh_coffea.results.assignment_efficiency import efficiencies, of_method

METHODS = ("chi2", "likelihood", "spanet", "spanet:greedy")
SAMPLES = {"ttbar": "tt_test.root", "tth": "tth_test.root"}
Numbers = npt.NDArray[np.float64]


def prepared_of(path: Path, analysis: Analysis, signal: bool = True) -> Prepared:
    """Selected and matched events of a file."""
    metadata = DatasetMetadata(format="delphes", analysis=analysis.name, is_signal=signal)
    source = {"dataset": "test", "filename": str(path), "fileuuid": "", "entrystart": 0}
    events = NanoEventsFactory.from_root(
        {str(path): "Delphes"}, schemaclass=delphes.SCHEMA, mode="virtual", metadata=source
    )
    return prepare(events.events(), metadata, analysis, ("default",))


def reconstructed(method: str, prepared: Prepared, analysis: Analysis, models: list[str]) -> tuple[ak.Array, float]:
    """Candidates of one method, and events per CPU-second; the network is loaded and warm before."""
    options = method_options([method], model=models, device="cpu")
    reconstruct({"default": [method]}, prepared.record[:50], analysis, options)
    start = time.process_time()
    found = reconstruct({"default": [method]}, prepared.record, analysis, options)["default"][method]
    return found, len(prepared.record) / (time.process_time() - start)


def table_1(found: dict[str, ak.Array], prepared: Prepared, analysis: Analysis) -> None:
    """Efficiencies of whole events and targets by number of jets."""
    names = ("event", *analysis.particle_names())
    print("| events | jets | " + " | ".join(f"{m}: {'/'.join(('Ev.', *names[1:]))}" for m in found) + " |")
    print("|" + "---|" * (2 + len(found)))
    rows = {
        method: efficiencies(
            of_method(analysis, prepared.record, analysis.evaluate(c, prepared.targets["default"], "default"))
        )
        for method, c in found.items()
    }
    for kind in ("all", "full"):
        for jets in next(iter(rows.values()))[kind]:
            cells = []
            for method in found:
                row = rows[method][kind][jets]
                event = row["event"]
                error = 50 * (event["high"] - event["low"])
                others = " / ".join(f"{100 * row[name]['value']:.1f}" for name in names[1:])
                cells.append(f"{100 * event['value']:.1f} ± {error:.1f} / {others}")
            print(f"| {kind.capitalize()} | {jets} | " + " | ".join(cells) + " |")


def neutrino(candidates: ak.Array, prepared: Prepared) -> None:
    """Half the width of the central 68% and root mean square of η_ν − η_ν(generated), without τ."""
    generated = truth(prepared.record)
    true = generated.particles["neutrino"]["eta"]
    use = ~generated.tau & np.isfinite(true)
    regressed = np.asarray(ak.fill_none(ak.firsts(candidates.neutrino_eta), np.nan))
    by_mass = polar(leptonic_w(prepared.record)[1])[1]
    print("\n| η of the neutrino | half width of central 68% | RMS | median |\n|---|---|---|---|")
    for name, values in (("W-mass constraint", by_mass), ("SPANet", regressed)):
        residual = (values - true)[use]
        low, middle, high = np.quantile(residual, [0.15865, 0.5, 0.84135])
        rms = float(np.sqrt(np.mean(residual**2)))
        print(f"| {name} | {(high - low) / 2:.3f} | {rms:.3f} | {middle:+.3f} |")


def area(background: Numbers, signal: Numbers) -> float:
    """Area under the ROC curve: the share of pairs in which signal scores higher (ties count half)."""
    ranks = np.concatenate([background, signal]).argsort().argsort() + 1.0
    n, m = len(background), len(signal)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def classes(folder: Path, candidates: ak.Array, analysis: Analysis, models: list[str]) -> None:
    """ttH against ttbb, with the standard deviation of 200 bootstrap samples."""
    background, _ = reconstructed(
        "spanet", prepared_of(folder / "ttbb_test.root", analysis, signal=False), analysis, models
    )
    print("\n| score of ttH against ttbb | AUC |\n|---|---|")
    for name in ("signal", "event_score"):
        scores = [np.asarray(ak.fill_none(ak.firsts(found[name]), np.nan)) for found in (background, candidates)]
        random = np.random.default_rng(1)
        again = [area(*(random.choice(s, len(s)) for s in scores)) for _ in range(200)]
        print(f"| `{name}` | {area(*scores):.4f} ± {np.std(again):.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="spanet_ttbar,spanet_tth", help="models, separated by commas")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--kinds", default="ttbar,tth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = options.model.split(",")
    for kind in options.kinds.split(","):
        analysis = load_analysis(f"{kind}_semileptonic")
        prepared = prepared_of(options.folder / SAMPLES[kind], analysis)
        print(f"\n## {kind}: {len(prepared.record):,} events\n")
        found = {}
        for method in options.methods.split(","):
            found[method], rate = reconstructed(method, prepared, analysis, models)
            print(f"{method}: {rate:,.0f} events per CPU-second")
        print()
        table_1(found, prepared, analysis)
        neutrino(found["spanet"], prepared)
        if kind == "tth":
            classes(options.folder, found["spanet"], analysis, models)


if __name__ == "__main__":
    main()

"""Purity and efficiency of a model's decodings on its own validation events, which were not trained on.

    hhh train data --fileset training_hhh --topology hhh --output data/hhh
    python benchmarks/decodings.py --data data/hhh --model models/spanet_hhh

Merged, definitions `default`. ``joint`` is shown with several values of ``presence``, which declare more or fewer
Higgs bosons. The network runs once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from hhh_coffea.spanet.checkpoint import describe, load
from hhh_coffea.spanet.decoding.decode import expected, greedy, joint, reference
from hhh_coffea.spanet.network.features import overlap_matrix
from hhh_coffea.spanet.training.batches import make_batch
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.validation import count_correct

BATCH = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--presence", type=float, nargs="*", default=[-1, -0.5, 0, 0.25, 0.5, 0.75, 1])
    parser.add_argument("--least", type=float, nargs="*", default=[0.2, 0.25, 0.3, 0.35, 0.4])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, model = TrainingData.open(arguments.data), load(arguments.model)
    fraction = describe(arguments.model)["training"]["configuration"]["validation_fraction"]
    rows = np.flatnonzero(data.column("split") < fraction)
    topology = model.topology
    two_kinds = len(topology.alternatives[0]) > 1
    totals: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            batch = make_batch(data.rows(rows[start : start + BATCH]), topology, torch.device("cpu"))
            outputs = model(batch.inputs, batch.masks)
            lengths = [x.shape[1] for x in batch.inputs]
            near = overlap_matrix(topology, batch.inputs, batch.masks) if two_kinds else None
            all_of_them = greedy(outputs, topology, lengths, own_input=True)
            ways = {
                "reference": reference(outputs, topology, lengths, near),
                "greedy, DP ≥ 0.5": all_of_them._replace(
                    selected=all_of_them.selected & (all_of_them.detection_probability >= 0.5)
                ),
            }
            ways |= {
                f"joint, presence {b:+}": joint(outputs, topology, lengths, near, presence=b)
                for b in arguments.presence
            }
            ways |= {
                f"expected, least {p}": expected(outputs, topology, lengths, near, least=p) for p in arguments.least
            }
            for name, decoded in ways.items():
                counts = np.array(count_correct(decoded, batch.truth, topology, lengths))
                totals[name] = totals.get(name, 0) + counts
    print(f"{len(rows):,} validation events of {arguments.data}\n")
    print("| decoding | candidates an event | purity | efficiency | product |\n|---|---|---|---|---|")
    for name, (candidates, correct, targets, found) in totals.items():
        purity, efficiency = correct / candidates, found / targets
        print(
            f"| {name} | {candidates / len(rows):.3f} | {purity:.4f} | {efficiency:.4f} | {purity * efficiency:.4f} |"
        )


if __name__ == "__main__":
    main()

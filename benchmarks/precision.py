"""A network in float32, bfloat16 and int8 on a CPU: events per CPU second, purity and efficiency on validation events.

    hhh train data --fileset training_hhh --topology hhh --output data/hhh
    python benchmarks/precision.py --data data/hhh --model models/spanet_hhh

bfloat16 is torch's autocast, int8 its dynamic quantisation of linear layers. The three take turns; the fastest of some turns
counts. Without bfloat16 instructions of the processor (``lscpu`` lists avx512_bf16 or amx_bf16) bfloat16 is ten times slower.
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hhh_coffea.spanet.checkpoint import describe, load
from hhh_coffea.spanet.decoding.decode import expected, joint
from hhh_coffea.spanet.network.interpretations import overlaps_of
from hhh_coffea.spanet.network.packed import Packed
from hhh_coffea.spanet.training.batches import make_batch
from hhh_coffea.spanet.training.dataset import TrainingData
from hhh_coffea.spanet.training.validation import count_correct

TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, model = TrainingData.open(arguments.data), load(arguments.model).eval()
    fraction = describe(arguments.model)["training"]["configuration"]["validation_fraction"]
    topology = model.topology
    batch = make_batch(data.rows(np.flatnonzero(data.column("split") < fraction)), topology, torch.device("cpu"))
    near, lengths = overlaps_of(topology, batch.inputs, batch.masks), [x.shape[1] for x in batch.inputs]
    quantised = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
        load(arguments.model).eval(), {torch.nn.Linear}, dtype=torch.qint8
    )
    ways: dict[str, tuple[Packed, AbstractContextManager[Any]]] = {
        "float32": (Packed(model), nullcontext()),
        "bfloat16": (Packed(model), torch.autocast("cpu", dtype=torch.bfloat16)),
        "int8": (Packed(quantised), nullcontext()),
    }
    speed, found = dict.fromkeys(ways, 0.0), {}
    for _ in range(TURNS):
        for name, (network, context) in ways.items():
            with context:
                start = time.process_time()
                found[name] = network(batch.inputs, batch.masks)
                speed[name] = max(speed[name], len(batch.weight) / (time.process_time() - start))
    print("| precision | events per CPU second | ratio | joint: purity | efficiency | expected: purity | efficiency |")
    print("|---|---|---|---|---|---|---|")
    for name, outputs in found.items():
        for table in (outputs.assignment, outputs.detection, outputs.gain):
            table.update({key: value.float() for key, value in table.items()})
        numbers = []
        for decode in (joint, expected):
            candidates, correct, targets, retrieved = count_correct(
                decode(outputs, topology, lengths, near), batch.truth, topology, lengths
            )
            numbers += [f"{correct / candidates:.4f}", f"{retrieved / targets:.4f}"]
        print(f"| {name} | {speed[name]:,.0f} | {speed[name] / speed['float32']:.2f} | {' | '.join(numbers)} |")


if __name__ == "__main__":
    main()

"""``train embeddings``: what a trained network makes of every event, as a table for anybody's model.

One row per event of a training data directory: where it is from, its weight, the event vector, and the network's
regressions and class probabilities.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hhh_coffea.base.atomic import replacing
from hhh_coffea.spanet.checkpoint import CheckpointError, load
from hhh_coffea.spanet.network.packed import Packed
from hhh_coffea.spanet.training.batches import make_batch
from hhh_coffea.spanet.training.dataset import TrainingData

BATCH = 8192


def write_embeddings(directory: str | Path, data: TrainingData, output: str | Path) -> int:
    """Write ``output`` (parquet, atomically), in the order of the shards; returns the number of events.

    Columns: ``dataset``, ``file``, ``entry``, ``weight``, ``split`` (validation takes the smallest), ``vector`` (D numbers), and
    the heads by their keys, of classes the probability of each.

    Raises
    ------
    CheckpointError
        if the model takes other inputs than the data hold.
    """
    model = load(directory)
    if model.topology.inputs != data.topology.inputs:
        raise CheckpointError(f"{directory}: has other inputs than {data.path} holds")
    forward, cpu = Packed(model), torch.device("cpu")
    path, total = Path(output), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        writer: pq.ParquetWriter | None = None
        for shard, listed in zip(data.shards, data.schema["shards"], strict=True):
            for low in range(0, len(shard), BATCH):
                rows = shard[low : low + BATCH]
                batch = make_batch(rows, data.topology, cpu)
                out = forward(batch.inputs, batch.masks)
                columns = {
                    name: pa.array([listed[key]] * len(rows))
                    for name, key in (("dataset", "dataset"), ("file", "source"))
                }
                columns |= {name: pa.array(np.ascontiguousarray(rows[name])) for name in ("entry", "weight", "split")}
                columns["vector"] = _lists(out.vectors["EVENT"].numpy())
                columns |= {key: pa.array(value.numpy()) for key, value in out.regression.items()}
                columns |= {key: _lists(value.softmax(-1).numpy()) for key, value in out.classification.items()}
                table = pa.table(columns)
                writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
                writer.write_table(table)
                total += len(rows)
        if writer is not None:
            writer.close()
    return total


def _lists(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

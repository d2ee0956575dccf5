"""From rows of training data to batches: tensors, truth, augmentation, and a forward pass without useless padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hhh_coffea.spanet.checkpoint import SPANet
from hhh_coffea.spanet.network.features import Normaliser
from hhh_coffea.spanet.network.outputs import Outputs
from hhh_coffea.spanet.training.dataset import Rows, TrainingData
from hhh_coffea.spanet.training.loss import Truth
from hhh_coffea.topology.topology import Topology


@dataclass
class Batch:
    """B events: raw ``inputs[i] (B, M_i, F_i)`` in GeV, ``masks[i] (B, M_i)``, truth, and generator ``weight (B)``."""

    inputs: list[Tensor]
    masks: list[Tensor]
    truth: Truth
    weight: Tensor


def make_batch(rows: Rows, topology: Topology, device: torch.device) -> Batch:
    """Copy rows of a shard into tensors."""

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows[name])).to(device)

    objects = {t.name: tensor(f"targets/{t.name}").long() for t in topology.targets}
    weighted = [t.name for t in topology.targets if f"weights/{t.name}" in (rows.dtype.names or ())]
    return Batch(
        [tensor(f"inputs/{i.name}") for i in topology.inputs],
        [tensor(f"masks/{i.name}") for i in topology.inputs],
        Truth(
            objects,
            {name: (x >= 0).all(1) for name, x in objects.items()},
            {name: tensor(f"weights/{name}") for name in weighted},
            {r.key: tensor(f"regressions/{r.key}") for r in topology.regressions},
            {key: tensor(f"classifications/{key}").long() for key in topology.classifications},
        ),
        tensor("weight"),
    )


ODD, EVEN = (
    ("eta", "pz"),
    ("pt", "mass", "energy", "log"),
)  # how a regression is called decides how it turns with its event


def under_reflection(key: str) -> float | None:
    """Sign that exchanging the ends of the beam gives a regression, None where its name does not tell.

    ``neutrino_eta`` changes its sign, ``log_mtt`` does not; nor does either when the event is turned about the beam.
    """
    words = key.rsplit("/", maxsplit=1)[-1].split("_")
    return -1.0 if words[-1] in ODD else 1.0 if words[-1] in EVEN or words[0] in EVEN else None


SCALED = ("pt", "mass", "sdmass", "energy", "e", "px", "py", "pz", "met", "ht")  # features that are energies


def under_scaling(key: str, value: Tensor, factor: Tensor) -> Tensor:
    """A regression of an event all of whose energies are multiplied by ``factor``, by its name."""
    words = key.rsplit("/", maxsplit=1)[-1].split("_")
    if words[0] == "log":
        return value + torch.log(factor)
    return value * factor if words[-1] in ("pt", "pz", "mass", "energy") else value


def augment(
    batch: Batch,
    topology: Topology,
    rotate_phi: bool,
    reflect_eta: bool,
    generator: torch.Generator,
    reflect_phi: bool = False,
    scale_range: Sequence[float] = (),
) -> Batch:
    """Turn every event by a random angle about the beam, swap its ends and (``reflect_phi``) mirror it at a plane that
    holds the beam, at random: symmetries of the collision.

    ``scale_range`` (low, high): one factor for each event, uniform in between, multiplies every energy in it and leaves the
    angles. That is no symmetry; it takes away what a network knows of the mass of the particles, against sculpting.

    Draws from ``generator`` (a CPU one) in the same order whatever the device. Regressions whose name does not tell how they
    turn (:func:`under_reflection`) are left as they are.
    """
    n, device = len(batch.weight), batch.weight.device
    angle = 2 * torch.pi * torch.rand(n, 1, generator=generator)
    sign = 1.0 - 2.0 * torch.randint(0, 2, (n, 1), generator=generator)
    angle, sign = angle.to(device), sign.to(device)
    mirror = torch.ones_like(sign)
    if reflect_phi:
        mirror = (1.0 - 2.0 * torch.randint(0, 2, (n, 1), generator=generator)).to(device)
    factor = torch.ones_like(sign)
    if scale_range:
        low, high = scale_range
        factor = (low + (high - low) * torch.rand(n, 1, generator=generator)).to(device)
    sin, cos = torch.sin(angle), torch.cos(angle)
    turned = []
    for event_input, x in zip(topology.inputs, batch.inputs, strict=True):
        columns = list(x.unbind(-1))
        place = {
            name.lower().removeprefix("fj_").replace("_", ""): i for i, name in enumerate(event_input.feature_names)
        }
        if "sinphi" in place:
            columns[place["sinphi"]] = columns[place["sinphi"]] * mirror
        if "phi" in place:
            columns[place["phi"]] = columns[place["phi"]] * mirror
        if rotate_phi and {"sinphi", "cosphi"} <= set(place):
            s, c = columns[place["sinphi"]], columns[place["cosphi"]]
            columns[place["sinphi"]], columns[place["cosphi"]] = s * cos + c * sin, c * cos - s * sin
        if rotate_phi and "phi" in place:
            columns[place["phi"]] = torch.remainder(columns[place["phi"]] + angle + torch.pi, 2 * torch.pi) - torch.pi
        if reflect_eta and "eta" in place:
            columns[place["eta"]] = columns[place["eta"]] * sign
        for energy in [place[name] for name in SCALED if name in place]:
            columns[energy] = columns[energy] * factor
        turned.append(torch.stack(columns, dim=-1))
    regression = dict(batch.truth.regression)
    for key, value in regression.items():
        if reflect_eta and (parity := under_reflection(key)) is not None:
            regression[key] = torch.where(sign.squeeze(1) < 0, parity * value, value)
        regression[key] = under_scaling(key, regression[key], factor.squeeze(1))
    return Batch(turned, batch.masks, replace(batch.truth, regression=regression), batch.weight)


def forward_in_groups(model: SPANet, batch: Batch, groups: int) -> tuple[Outputs, Tensor]:
    """Run the network on parts of the batch with similar numbers of objects, each padded to its own longest event.

    Padding is masked, so outputs are those of one pass to rounding; but half of the slots of an HHH batch are empty,
    and pairs cost as their square. Returns outputs in the full shape, and the order ``(B)`` in which they are: row i
    is event ``order[i]`` of the batch. Architecture ``original`` is run in one part: its batch normalisation looks at
    the whole batch.
    """
    n = len(batch.weight)
    if groups <= 1 or model.architecture != "default":
        return model(batch.inputs, batch.masks), torch.arange(n, device=batch.weight.device)
    counts = [m.sum(1) for m in batch.masks]
    key = torch.zeros_like(counts[0])
    for count in counts[::-1]:  # the last input, the rarer objects, decides first
        key = key * 64 + count
    order = torch.argsort(key, stable=True)
    shapes = [
        i.shape[1] for i, kind in zip(batch.inputs, model.topology.inputs, strict=True) if kind.kind == "sequential"
    ]
    lengths = {i.name: s for i, s in zip(model.topology.sequential, shapes, strict=True)} | {None: sum(shapes)}
    sought = {source or i.name for t in model.topology.targets for source in t.sources for i in model.topology.inputs}
    parts: list[Outputs] = []
    for part in torch.tensor_split(order, min(groups, n)):
        x, m = [], []
        for i, (event_input, count) in enumerate(zip(model.topology.inputs, counts, strict=True)):
            # never empty: two objects that can be assigned keep every tensor of pairs well formed
            least = 2 if event_input.name in sought else 1
            longest = int(count[part].max().clamp_min(least)) if event_input.kind == "sequential" else None
            x.append(batch.inputs[i][part, :longest])
            m.append(batch.masks[i][part, :longest])
        parts.append(model(x, m))
    return _joined(parts, model.topology, lengths), order


def _joined(parts: Sequence[Outputs], topology: Topology, lengths: dict[str | None, int]) -> Outputs:
    """Outputs of all parts, assignments padded with −inf to the full lengths."""
    out = Outputs({}, {})
    for target in topology.targets:
        full = [lengths[source] for source in target.sources]
        out.assignment[target.name] = _padded([part.assignment[target.name] for part in parts], full)
        for kind in ("gain", "marginal"):
            if getattr(parts[0], kind):
                getattr(out, kind)[target.name] = _padded([getattr(part, kind)[target.name] for part in parts], full)
        out.detection[target.name] = torch.cat([part.detection[target.name] for part in parts])
    for key in parts[0].regression:
        out.regression[key] = torch.cat([part.regression[key] for part in parts])
    for key in parts[0].classification:
        out.classification[key] = torch.cat([part.classification[key] for part in parts])
    return out


def _padded(tables: Sequence[Tensor], full: Sequence[int]) -> Tensor:
    """Tables ``(b, n1, …, nk)`` over the objects below one another, in the size ``full`` of the longest event."""
    missing = [[m - n for m, n in zip(full, table.shape[1:], strict=True)] for table in tables]
    return torch.cat(
        [
            F.pad(table, [p for m in reversed(some) for p in (0, m)], value=-torch.inf)
            for table, some in zip(tables, missing, strict=True)
        ]
    )


def reordered(batch: Batch, order: Tensor) -> Batch:
    """The batch with its events in another order ``(B)``."""
    parts = [getattr(batch.truth, f.name) for f in fields(Truth)]
    truth = Truth(*({k: v[order] for k, v in part.items()} for part in parts))
    return Batch([x[order] for x in batch.inputs], [m[order] for m in batch.masks], truth, batch.weight[order])


def fit_regressions(
    model: SPANet,
    data: TrainingData,
    use: np.ndarray[tuple[int], np.dtype[np.bool_]],
    keys: Sequence[str] | None = None,
) -> None:
    """Set mean and standard deviation of the regressions (``keys``: of these alone) from the events in ``use (N)``.

    Of asinh(x/2) where the head is logarithmic.
    """
    for i, r in enumerate(data.topology.regressions):
        if keys is not None and r.key not in keys:
            continue
        x = data.column(f"regressions/{r.key}")[use].astype(np.float64)
        x = x[np.isfinite(x)]
        x = np.arcsinh(x / 2) if r.kind == "log_gaussian" else x
        if len(x) > 1:
            model.regression_scale[i] = torch.tensor([x.mean(), max(x.std(ddof=1), 1e-5)])


def presence_codes(data: TrainingData) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Pattern of present targets of every event, Σ_p present_p 2^p: ``(N)``."""
    codes = np.zeros(len(data), dtype=np.int32)
    for start, rows in data.blocks():
        for p, target in enumerate(data.topology.targets):
            there = (rows[f"targets/{target.name}"] >= 0).all(axis=1)
            codes[start : start + len(rows)] |= there.astype(np.int32) << p
    return codes


def fit_normalisers(
    normalisers: Sequence[Normaliser], data: TrainingData, use: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> None:
    """Mean and standard deviation of the real objects of the events in ``use (N)``, in one pass over the shards.

    The numbers of :func:`.features.fit_normalisers`, without holding the sample in memory.
    """
    sums = [np.zeros((3, len(i.features))) for i in data.topology.inputs]  # n, Σx, Σx²
    for start, rows in data.blocks():
        chosen = rows[use[start : start + len(rows)]]
        for total, event_input in zip(sums, data.topology.inputs, strict=True):
            x = chosen[f"inputs/{event_input.name}"][chosen[f"masks/{event_input.name}"]].astype(np.float64)
            log = np.array([f.log for f in event_input.features])
            x[:, log] = np.log1p(np.maximum(x[:, log], -1 + 1e-6))
            np.add(total, [np.full(x.shape[1], len(x)), x.sum(axis=0), (x**2).sum(axis=0)], out=total)
    for normaliser, total, event_input in zip(normalisers, sums, data.topology.inputs, strict=True):
        n, wanted = np.maximum(total[0], 1), np.array([f.normalize for f in event_input.features])
        mean = total[1] / n
        std = np.sqrt(np.maximum(total[2] - n * mean**2, 0) / np.maximum(n - 1, 1))
        normaliser.mean.copy_(torch.from_numpy(np.where(wanted, mean, 0.0)))
        normaliser.std.copy_(torch.from_numpy(np.where(wanted & (std >= 1e-5), std, 1.0)))

"""Speed of the networks and of the decoding on one CPU thread: ``python benchmarks/spanet.py``.

Prints for ``original`` (the options of the published HHH analysis), ``default`` (the network of the recipe ``hhh``, random
weights) and ``shipped`` (models/spanet_hhh, one layer more): parameters, counted MFLOP per event with every slot filled,
events per CPU second of forward, joint decoding and both, the fraction of this machine's fp32 matrix-multiplication peak
measured in the same run, and how many times faster that forward is than the plain network. The fraction counts every slot
as filled; without ``--full`` padding is skipped, so there it is an equivalent rate, not arithmetic done. The second table
has the other decodings, the third how the cost grows with the number of jets. ``--onnx`` adds the rate of onnxruntime on
the plain network (one thread, best batch size of three; a graph computes every slot, filled or not): exporting the
original takes minutes.

Times are this process' CPU time, the best of several repetitions: another process on the machine still costs cache,
and on a shared physical core up to half of the arithmetic.

Events are random; multiplicities resemble HHH events (at least six jets), or ``--full``: every slot filled, the worst
case. The decoding is measured on made-up peaked distributions; the share of events in which the Higgs bosons compete for
jets is printed with it.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hhh_coffea.spanet.checkpoint import build, load
from hhh_coffea.spanet.decoding.decode import greedy, joint, reference
from hhh_coffea.spanet.network.features import overlap_matrix
from hhh_coffea.spanet.network.outputs import Outputs, masked_log_softmax, valid_combinations
from hhh_coffea.spanet.network.packed import Packed
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.topology.topology import Topology

# options_files/delphes/hhh_v2_boosted.json of the published analysis, arXiv 2412.03819
PUBLISHED = {
    "hidden_dim": 32,
    "initial_embedding_dim": 16,
    "position_embedding_dim": 16,
    "num_encoder_layers": 4,
    "num_branch_embedding_layers": 3,
    "num_branch_encoder_layers": 3,
    "num_jet_encoder_layers": 2,
    "num_detector_layers": 2,
}
# Share of events with 6, 7, … jets: an assumption, peaked at 7. With 0, 1, … large-radius jets: rounded from the
# counts of the published analysis (5.2k, 2.1k, 2.0k, 0.68k of 10k).
JETS, FAT_JETS = [0.26, 0.29, 0.22, 0.13, 0.10], [0.52, 0.21, 0.20, 0.07]

NETWORKS, GROWTH = ["original", "default", "shipped"], [6, 8, 10, 12]


def best_time(f: Callable[[], object], seconds: float) -> float:
    """Shortest CPU time of the repetitions that fit into ``seconds``, three at least, after one to warm up."""
    f()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        t = time.process_time()
        f()
        times.append(time.process_time() - t)
    return min(times)


def matmul_peak(seconds: float) -> float:
    """FLOP/s of a large square matrix product."""
    n = 1024
    a, b = torch.randn(n, n), torch.randn(n, n)
    return 2 * n**3 / best_time(lambda: a @ b, seconds)


def make_events(topology: Topology, batch: int, full: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Random kinematics with 10 and 3 slots."""
    g = torch.Generator().manual_seed(0)
    inputs, masks = [], []
    for event_input, slots, share, least in zip(topology.inputs, (10, 3), (JETS, FAT_JETS), (6, 0), strict=False):
        count = least + torch.multinomial(torch.tensor(share), batch, replacement=True, generator=g)
        mask = torch.arange(slots) < (torch.full_like(count, slots) if full else count).unsqueeze(1)
        phi, u = (torch.rand(batch, slots, generator=g) for _ in range(2))
        pt = (200 if event_input.name == "BoostedJets" else 20) - 60 * u.clamp_min(1e-3).log()
        known = {"pt": pt, "mass": 0.15 * pt, "sdmass": 0.12 * pt, "eta": 4 * u - 2}
        known |= {"sinphi": (6.28 * phi).sin(), "cosphi": (6.28 * phi).cos()}
        columns = [known.get(name.removeprefix("fj_"), u) for name in event_input.feature_names]
        inputs.append(torch.stack(columns, dim=-1) * mask.unsqueeze(-1))
        masks.append(mask)
    return inputs, masks


def sharpened(outputs: Outputs, topology: Topology, masks: list[Tensor]) -> Outputs:
    """Random distributions of the same shapes that mostly peak at one consistent assignment.

    In each event the first six jets are shared out at random; a target's score is raised there in 7 cases of 10.
    Detection probabilities are around 0.75 for pairs and 0.2 for large-radius jets.
    """
    g = torch.Generator().manual_seed(1)
    jets = torch.rand(len(masks[0]), 6, generator=g).argsort(1)
    own = dict(zip([i.name for i in topology.sequential], masks, strict=True))
    made = Outputs({}, {})
    for p, t in enumerate(topology.targets):
        shape = outputs.assignment[t.name].shape
        everything = torch.cat(masks, 1)
        offered = [own[s] if n == own[s].shape[1] else everything for s, n in zip(t.sources, shape[1:], strict=True)]
        scores = 2 * torch.randn(shape, generator=g)
        if t.degree == 2:
            scores = (scores + scores.transpose(1, 2)) / 2**0.5
            events, (a, b) = torch.arange(shape[0]), jets[:, 2 * p : 2 * p + 2].T
            raised = 6.0 * (torch.rand(shape[0], generator=g) < 0.7)
            scores[events, a, b] += raised
            scores[events, b, a] += raised
        made.assignment[t.name] = masked_log_softmax(scores, valid_combinations(offered, [0] * t.degree))
        made.detection[t.name] = torch.randn(shape[0], generator=g) + (1.1 if t.degree == 2 else -1.4)
    return made


class Plain(torch.nn.Module):
    """The network alone, as the graph for onnxruntime."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        out = self.model(tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :])
        return (*out.assignment.values(), *out.detection.values())


def onnx_rate(model: torch.nn.Module, inputs: list[Tensor], masks: list[Tensor], seconds: float) -> float | None:
    """Events per CPU second of onnxruntime; None where it is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        return None
    import onnxruntime

    tensors = [*inputs, *masks]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        path, batch = str(Path(folder) / "plain.onnx"), torch.export.Dim("batch", min=1)
        torch.onnx.export(
            Plain(model).eval(),
            tuple(x[:3] for x in tensors),
            path,
            input_names=[f"x{i}" for i in range(len(tensors))],
            dynamo=True,
            dynamic_shapes=(tuple({0: batch} for _ in tensors),),
            external_data=False,
            verbose=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rates = []
    for n in (64, 128, 512):
        feed = {f"x{i}": x[:n].numpy() for i, x in enumerate(tensors)}
        rates.append(n / best_time(lambda feed=feed: session.run(None, feed), seconds / 3))
    return max(rates)


def make_model(name: str) -> torch.nn.Module:
    """Network of a row of the table."""
    torch.manual_seed(0)
    topology = Topology.bundled("hhh")
    if name == "original":
        return build(topology, "original", PUBLISHED).eval()
    if name == "default":
        return build(topology, "default", TrainingConfig.read("hhh").network).eval()
    return load(Path(__file__).parents[1] / "models" / "spanet_hhh").eval()


def measure(name: str, batch: int, full: bool, seconds: float, with_onnx: bool) -> str:
    """Print the table's row of one network; return that of the decodings."""
    model = make_model(name)
    topology = model.topology
    parameters = sum(p.numel() for p in model.parameters())
    inputs, masks = make_events(topology, 64, full=True)
    with FlopCounterMode(display=False) as counter:
        model(inputs, masks)
    flop = counter.get_total_flops() / 64
    inputs, masks = make_events(topology, batch, full)
    lengths = [m.shape[1] for m in masks]
    run = Packed(model)
    with torch.inference_mode():
        peaked = sharpened(run(inputs, masks), topology, masks)
        near = overlap_matrix(topology, inputs, masks)

        def decode() -> object:
            return joint(peaked, topology, lengths, overlap_matrix(topology, inputs, masks))

        forward = best_time(lambda: run(inputs, masks), seconds) / batch
        some = [x[:1024] for x in inputs], [m[:1024] for m in masks]
        plain = best_time(lambda: model(*some), seconds / 2) / min(batch, 1024)  # larger batches leave the cache
        decoding = best_time(decode, seconds) / batch
        others = [
            batch / best_time(f, seconds / 2)
            for f in (lambda: greedy(peaked, topology, lengths), lambda: reference(peaked, topology, lengths, near))
        ]
        alone = torch.stack([peaked.assignment[h].flatten(1).argmax(1) for h in ("h1", "h2", "h3")], 1)
    n = peaked.assignment["h1"].shape[-1]
    jets = torch.stack([alone // n, alone % n], 2).flatten(1).sort(1).values
    contested = (jets.diff(dim=1) == 0).any(1).float().mean().item()
    peak = matmul_peak(seconds / 2)
    onnx = onnx_rate(model, inputs, masks, seconds) if with_onnx else None
    print(
        f"{name:9} {parameters / 1e6:10.3f} {flop / 1e6:12.2f} {1 / forward:11,.0f} {1 / decoding:11,.0f} "
        f"{1 / (forward + decoding):11,.0f} {peak / 1e9:13.1f} {flop / forward / peak:14.2f} {plain / forward:8.2f} "
        f"{contested:10.2f} " + (f"{onnx:13,.0f}" if onnx else ""),
        flush=True,
    )
    return f"{name:9} {1 / decoding:11,.0f} {others[0]:11,.0f} {others[1]:11,.0f}"


def growth(name: str, batch: int, seconds: float) -> str:
    """Events per CPU second of the forward step when every event has 6, 8, 10 or 12 jets and one large-radius jet."""
    model, rates = make_model(name), []
    run = Packed(model)
    for n in GROWTH:
        inputs, masks = make_events(model.topology, batch, full=True)
        inputs, masks = ([torch.cat([x[0], x[0]], 1)[:, :n], x[1]] for x in (inputs, masks))
        masks[1] = torch.arange(masks[1].shape[1]).expand_as(masks[1]) < 1
        rates.append(batch / best_time(lambda x=inputs, m=masks: run(x, m), seconds / 2))
    return f"{name:9} " + " ".join(f"{rate:9,.0f}" for rate in rates)


def main() -> None:
    """Parse arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=8192, help="events at a time (default 8192, as in the main job)")
    parser.add_argument("--full", action="store_true", help="fill every slot: 10 jets and 3 large-radius jets")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each measurement (default 4)")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all")
    parser.add_argument("--onnx", action="store_true", help="measure onnxruntime too (needs onnx, onnxscript)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.network or NETWORKS
    print(
        f"{'':9} {'M params':>10} {'MFLOP/event':>12} {'forward/s':>11} {'joint/s':>11} {'both/s':>11} "
        f"{'peak GFLOP/s':>13} {'of peak (full)':>14} {'x plain':>8} {'contested':>10} "
        f"{'onnxruntime/s' if arguments.onnx else ''}",
        flush=True,
    )
    rows = [measure(n, arguments.batch, arguments.full, arguments.seconds, arguments.onnx) for n in names]
    print(f"\n{'':9} {'joint/s':>11} {'greedy/s':>11} {'reference/s':>11}", *rows, sep="\n", flush=True)
    print(f"\n{'jets':9} " + " ".join(f"{n:9}" for n in GROWTH), flush=True)
    for name in names:
        print(growth(name, min(arguments.batch, 2048), arguments.seconds), flush=True)


if __name__ == "__main__":
    main()

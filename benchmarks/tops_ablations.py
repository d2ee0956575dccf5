"""What the network for semi-leptonic tops gains from more events, from symmetry, from its inputs and its architecture.

    hhh train data --fileset training_ttbar --topology ttbar_semileptonic --output data/ttbar
    python benchmarks/tops_ablations.py --data data/ttbar --output variants ../shared/data/tops/tt_test.root
    python benchmarks/tops_ablations.py … --only events_4400 invariant_4400          # some of the variants
    python benchmarks/tops_ablations.py … --report-only                              # of what has been trained

Trains variants of the recipe ttbar_semileptonic, one after the other, and prints the tables of docs/tops_spanet.md: the
efficiency of whole events (Table 1 of M. Fenton et al., Commun. Phys. 7, 139 (2024), "Full" and "All"), the change of
probabilities when events are turned, and the efficiency of t_H against the generated m(tt̄). Complete trainings are not
repeated, others are resumed. All variants are validated on the same events. About an hour and a half of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from spanet import PUBLISHED  # benchmarks/spanet.py
from tops_spanet import prepared_of, reconstructed  # benchmarks/tops_spanet.py
from torch import Tensor

from hhh_coffea.analyses import load_analysis
from hhh_coffea.methods.spanet import load_model, network_inputs
from hhh_coffea.reconstruction.prepare import Prepared
from hhh_coffea.results.assignment_efficiency import efficiencies, of_method
from hhh_coffea.spanet.checkpoint import load
from hhh_coffea.spanet.training.config import TrainingConfig
from hhh_coffea.spanet.training.dataset import SCHEMA_FILE, TrainingData, row_type
from hhh_coffea.spanet.training.trainer import train
from hhh_coffea.topology.topology import Topology

EPOCHS = {4400: 40, 8800: 34, 17600: 24, 35100: 17}  # by training events: smaller samples need more of them
COMPARED = {"max_events": 17600, "epochs": 8}  # architectures and inputs: the same events, seen equally often
LOW_MASS = 450.0  # GeV
MASSES = (300, 400, 450, 500, 600, 800, 1500)  # GeV: bins of the generated m(tt̄)
TURNED = 2000  # events that are turned
PLAIN = {"rotate_phi": False, "reflect_eta": False, "reflect_phi": False}
CARTESIAN = ("px", "py", "pz", "energy")
Change = dict[str, Any]
Rows = npt.NDArray[np.void]


class Variant(NamedTuple):
    """Changes of the recipe, and of the data."""

    recipe: Change
    data: str = "as they are"


def variants() -> dict[str, Variant]:
    """Every variant by its name, in the order of training."""
    found = {f"events_{n}": Variant({"max_events": n, "epochs": e}) for n, e in EPOCHS.items()}
    invariant = {"network": {"invariant": True}}
    found |= {f"invariant_{n}": Variant({"max_events": n, "epochs": EPOCHS[n], **invariant}) for n in (4400, 17600)}
    original = {"architecture": "original", "network": PUBLISHED, "learning_rate": 1.5e-3, **COMPARED}
    return found | {
        "default": Variant(COMPARED),
        "by_pairs": Variant({"network": {"combination_score": False}, **COMPARED}),
        "larger": Variant({"network": {"hidden_dim": 96, "num_encoder_layers": 4}, **COMPARED}),
        "smaller": Variant({"network": {"hidden_dim": 32, "num_encoder_layers": 2}, **COMPARED}),
        "low_mass": Variant(COMPARED, "low mass"),
        "original": Variant(original),
        "original_not_turned": Variant(original | PLAIN),
        "original_cartesian": Variant(original | PLAIN, "cartesian"),
    }


def configured(change: Change) -> TrainingConfig:
    """The recipe with a change; options of the network are added to those of the recipe unless the architecture changes."""
    recipe = TrainingConfig.read("ttbar_semileptonic")
    network = change.get("network", {})
    if "architecture" not in change:
        network = {**recipe.network, **network}
    return dataclasses.replace(recipe, **{**change, "network": network})


def derived(data: TrainingData, folder: Path, topology: Topology, of: Callable[[Rows, Rows], Rows]) -> TrainingData:
    """Data directory of ``of(rows, empty rows of the new type)``, shard by shard; made once."""
    if not (folder / SCHEMA_FILE).is_file():
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        schema = {**data.schema, "topology": topology.text, "shards": []}
        for i in topology.inputs:
            schema["inputs"] = {**schema["inputs"], i.name: {**schema["inputs"][i.name], "features": i.feature_names}}
        for rows, entry in zip(data.shards, data.schema["shards"], strict=True):
            made = of(rows, np.zeros(len(rows), dtype=row_type(topology, data.lengths)))
            np.save(folder / entry["file"], made)
            schema["shards"].append({**entry, "events": len(made)})
        schema["events"] = sum(entry["events"] for entry in schema["shards"])
        (folder / SCHEMA_FILE).write_text(json.dumps(schema, default=list), encoding="utf-8")
    return TrainingData.open(folder)


def low_mass(rows: Rows, _: Rows) -> Rows:
    """Training events below :data:`LOW_MASS`; validation events (split < 0.05) of every mass."""
    low = rows["regressions/EVENT/log_mtt"] < math.log(LOW_MASS)
    return rows[low | (rows["split"] < TrainingConfig.read("ttbar_semileptonic").validation_fraction)]


def cartesian_topology(topology: Topology) -> Topology:
    """Momenta as px, py, pz and energy in place of mass, pT, η and φ; px and py of MET."""
    text = topology.text
    for name, extra in (("Jets", "btag"), ("Leptons", "flavor")):
        start = text.index(f"{name}:") + len(name) + 1
        stop = text.index(f"{extra}:", start)
        text = text[:start] + "".join(f"\n      {c}: normalize" for c in CARTESIAN) + "\n      " + text[stop:]
    start, stop = text.index("Met:") + 4, text.index("EVENT:")
    return Topology.from_text(
        text[:start] + "\n      px: normalize\n      py: normalize\n\n" + text[stop:], "cartesian"
    )


def cartesian(rows: Rows, made: Rows) -> Rows:
    """The same events with momenta of :func:`cartesian_topology`."""
    for name in made.dtype.names or ():
        if not name.startswith("inputs/"):
            made[name] = rows[name]
    for name in ("Jets", "Leptons"):
        mass, pt, eta, sin, cos, last = np.moveaxis(rows[f"inputs/{name}"].astype(np.float64), -1, 0)
        pz = pt * np.sinh(eta)
        columns = (pt * cos, pt * sin, pz, np.sqrt(mass**2 + pt**2 + pz**2), last)
        made[f"inputs/{name}"] = np.stack(columns, axis=-1)
    met, sin, cos = np.moveaxis(rows["inputs/Met"].astype(np.float64), -1, 0)
    made["inputs/Met"] = np.stack([met * cos, met * sin], axis=-1)
    return made


def data_of(kind: str, data: TrainingData, folder: Path) -> TrainingData:
    """The data that a variant is trained on."""
    if kind == "low mass":
        return derived(data, folder / "data_low_mass", data.topology, low_mass)
    if kind == "cartesian":
        return derived(data, folder / "data_cartesian", cartesian_topology(data.topology), cartesian)
    return data


def history(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a training."""
    epochs: list[dict[str, Any]] = json.loads((folder / "history.json").read_text(encoding="utf-8"))["epochs"]
    return epochs


def whole(folder: Path, config: TrainingConfig) -> bool:
    """Whether a training is complete."""
    return (folder / "history.json").is_file() and len(history(folder)) >= config.epochs


def right(prepared: Prepared, folder: Path) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
    """Efficiencies of a model on test events, and whether t_H was right in each event."""
    analysis = load_analysis("ttbar_semileptonic")
    found, _ = reconstructed("spanet", prepared, analysis, [str(folder)])
    result = analysis.evaluate(found, prepared.targets["default"], "default")
    every = next(iter(result.categories.values()))
    return efficiencies(of_method(analysis, prepared.record, result)), every.retrieved[
        :, analysis.particle_names().index("ht")
    ]


def turned(topology: Topology, inputs: list[Tensor], random: np.random.Generator) -> list[Tensor]:
    """Events turned about the beam by a random angle, and mirrored in y and in z with probability ½ each."""
    n = len(inputs[0])
    angle, y, z = random.uniform(0, 2 * np.pi, n), random.choice([-1, 1], n), random.choice([-1, 1], n)
    sin_a, cos_a, y, z = (torch.tensor(v, dtype=torch.float32)[:, None] for v in (np.sin(angle), np.cos(angle), y, z))
    found = []
    for event_input, given in zip(topology.inputs, inputs, strict=True):
        column = {name: k for k, name in enumerate(event_input.feature_names)}
        x = given.clone()
        sin, cos = given[..., column["sinphi"]] * y, given[..., column["cosphi"]]
        x[..., column["sinphi"]], x[..., column["cosphi"]] = sin * cos_a + cos * sin_a, cos * cos_a - sin * sin_a
        if "eta" in column:
            x[..., column["eta"]] = given[..., column["eta"]] * z
        found.append(x)
    return found


def symmetry(prepared: Prepared, folders: dict[str, Path]) -> None:
    """Change of the marginal probability M = A·D of each target when test events are turned."""
    print(
        f"\n| {TURNED} turned events | target | change of M below 0.01 | below 0.05 | largest |\n|---|---|---|---|---|"
    )
    for name, folder in folders.items():
        model = load_model(folder)
        arrays, masks = network_inputs(prepared.record[:TURNED], model)
        inputs, there = [torch.from_numpy(x) for x in arrays], [torch.from_numpy(m) for m in masks]
        network = load(folder).eval()
        other = turned(network.topology, inputs, np.random.default_rng(1))
        with torch.inference_mode():
            outputs = [network(x, there) for x in (inputs, other)]
        for target in network.topology.targets:
            before, after = (
                len(target.group)
                * o.assignment[target.name].flatten(1).max(1).values.exp()
                * o.detection[target.name].sigmoid()
                for o in outputs
            )
            change = (before - after).abs().numpy()
            shares = " | ".join(f"{100 * np.mean(change < limit):.1f}%" for limit in (0.01, 0.05))
            print(f"| {name} | {target.name} | {shares} | {change.max():.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path, help="Delphes file of tt̄ that no training has seen")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="training data")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="one model directory per variant")
    parser.add_argument("--only", nargs="+", choices=variants(), default=list(variants()))
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = TrainingData.open(options.data)
    chosen = {name: (configured(v.recipe), v.data) for name, v in variants().items() if name in options.only}
    for name, (config, kind) in chosen.items():
        folder = options.output / name
        if not options.report_only and not whole(folder, config):
            of, resume = data_of(kind, data, options.output), folder.exists()
            train(config, of, folder, device="cpu", resume=resume, say=lambda line, n=name: print(n, line, flush=True))
    done = {name: options.output / name for name, (config, _) in chosen.items() if whole(options.output / name, config)}
    done |= {"spanet_ttbar": Path("models/spanet_ttbar")} if Path("models/spanet_ttbar").is_dir() else {}
    prepared = prepared_of(options.test, load_analysis("ttbar_semileptonic"))
    report(prepared, done, chosen)


def report(prepared: Prepared, done: dict[str, Path], chosen: dict[str, tuple[TrainingConfig, str]]) -> None:
    """Print all tables of what has been trained."""
    print("\n| variant | events × epochs | parameters | least validation loss | Full, test | All, test | training |")
    print("|---|---|---|---|---|---|---|")
    hadronic: dict[str, npt.NDArray[np.bool_]] = {}
    for name, folder in done.items():
        seen, loss, seconds = "", "", ""
        if name in chosen:
            config, epochs = chosen[name][0], history(folder)
            seen, loss = f"{config.max_events:,} × {config.epochs}", f"{min(e['validation_loss'] for e in epochs):.4f}"
            seconds = f"{sum(e['training_seconds'] for e in epochs):.0f} s"
        cells = ["", ""]
        if name not in chosen or chosen[name][1] != "cartesian":
            table, hadronic[name] = right(prepared, folder)
            rows = [list(table[kind].values())[-1]["event"] for kind in ("full", "all")]
            cells = [f"{100 * r['value']:.1f} ± {50 * (r['high'] - r['low']):.1f}" for r in rows]
        else:
            best = max(history(folder), key=lambda e: e["full"])
            cells = [f"{100 * best[kind]:.1f} (validation)" for kind in ("full", "all")]
        parameters = sum(p.numel() for p in load(folder).parameters())
        print(f"| `{name}` | {seen} | {parameters:,} | {loss} | {' | '.join(cells)} | {seconds} |")
    symmetry(prepared, {name: folder for name, folder in done.items() if name.startswith(("spanet", "invariant"))})
    by_mass(prepared, {name: hadronic[name] for name in ("default", "low_mass") if name in hadronic})


def by_mass(prepared: Prepared, right_ht: dict[str, npt.NDArray[np.bool_]]) -> None:
    """Efficiency of t_H, where it can be found, in bins of the generated m(tt̄)."""
    mtt = np.exp(load_analysis("ttbar_semileptonic").regressions["EVENT/log_mtt"](prepared.record))
    can = (prepared.targets["default"].objects["ht"][:, 0] >= 0).all(axis=1)
    print("\n| t_H right, % | " + " | ".join(f"{a}–{b} GeV" for a, b in itertools.pairwise(MASSES)) + " |")
    print("|---|" + "---|" * (len(MASSES) - 1))
    for name, is_right in right_ht.items():
        cells = []
        for low, high in itertools.pairwise(MASSES):
            use = can & (mtt >= low) & (mtt < high)
            share = is_right[use].mean()
            cells.append(f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / use.sum()):.1f}")
        print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""The card of a permutation network: what it is and where it comes from, for people."""

from __future__ import annotations

from typing import Any

from hhh_coffea.topology.topology import Topology


def text(name: str, topology: Topology, parameters: int, made: dict[str, Any]) -> str:
    """Compose ``README.md``; ``made`` is ``training`` of ``pdnn.json``."""
    settings, validation = made["settings"], made["validation"]
    targets = "; ".join(f"`{t.name}`: {', '.join(f'`{d}`' for d in t.daughters)}" for t in topology.targets)
    inputs = ", and masses of the jets of each target" if settings["masses"] else ""
    files = ", ".join(made["files"])
    return "\n".join(
        [
            f"# {name}",
            "",
            "Permutation network of the method `pdnn`: it scores every assignment of jets to the targets of an event. Written by",
            "`hhh train pdnn`. The program reads `pdnn.json`.",
            "",
            f"Targets: {targets}. Analysis `{made['analysis']}`.",
            "",
            "## Intended use",
            "",
            f"Events of the format {', '.join(made['formats'])} with the selection of its analysis, and with the same detector,",
            "jets and b tags as the training events. Scores of other events have no meaning.",
            "",
            "## Network",
            "",
            f"{settings['layers']} hidden layers of {settings['hidden']} units with ReLU, one output: {parameters:,} parameters.",
            "Inputs: pT, mass, η, φ and b tag of each jet, pT, η and flavor of the lepton, missing transverse",
            f"momentum{inputs}. φ is measured from the lepton.",
            f"The first {settings['max_jets']} jets are used, b-tagged ones first, then by pT.",
            "",
            "## Training",
            "",
            f"Files: {files}.",
            f"Of {made['selected_events']:,} selected events, the training uses those in which every quark has",
            f"one of these jets: {made['training_events']:,} for training, {made['validation_events']:,} for validation. Event",
            "weights are not used.",
            f"Epoch {validation['epoch']} of {settings['epochs']} was kept: it has the most validation events with every jet",
            f"right, {100 * validation['accuracy']:.1f}%. Loss: `{settings['loss']}`. All settings are in `pdnn.json`,",
            "all epochs in `history.json`.",
            f"Trained with hhh_coffea {made['version']}.",
            "",
        ]
    )

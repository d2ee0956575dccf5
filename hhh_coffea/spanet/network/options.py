"""What can be chosen in our network: the ``network`` part of a recipe, kept in model.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

RETIRED = ("pairwise_mass", "mass_inputs")  # hid masses where false; model.yaml of older models has them as true


@dataclass(frozen=True)
class DefaultOptions:
    """What can be chosen.

    ``pairwise_attention`` and ``pairwise_score`` switch the kinematics of pairs (ΔR, kT, z, mass) in the encoder's
    attention and in the scores; without them the network learns masses less readily and sculpts them less. The pairs
    pass through two linear layers, of ``pair_hidden`` and ``pair_dim``; ``score_dim`` is the width of
    :class:`~.network.PairScore`. ``target_attention`` lets the targets see one another in the decoder.
    ``combination_score`` scores targets of three or more daughters by all of them together, their mass included
    (:class:`~.scores.CombinationScore`), not pair by pair. ``spectators`` tells every object its kinematics with those that
    are never assigned: with leptons that are no daughters, and with MET by Δφ.
    ``invariant`` leaves η and φ out of the embeddings of objects: directions enter through pairs alone, and no output changes
    when an event is turned about the beam or mirrored.
    ``interpretations`` makes the probabilities those of whole interpretations of the event, in which no object is used twice
    (:mod:`.interpretations`); for targets that are pairs or single objects.
    ``shared_decoder: false`` gives every target a decoder, projections and heads of its own, as in the original's
    branches; they then do not see one another.
    """

    hidden_dim: int = 64
    num_heads: int = 4
    num_encoder_layers: int = 3
    num_decoder_layers: int = 2
    feedforward_scale: float = 2.0
    pair_hidden: int = 32
    pair_dim: int = 16
    score_dim: int = 64
    pairwise_attention: bool = True
    pairwise_score: bool = True
    target_attention: bool = True
    shared_decoder: bool = True
    combination_score: bool = False
    spectators: bool = False
    invariant: bool = False
    interpretations: bool = False
    dropout: float = 0.0

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> DefaultOptions:
        """Make options from a mapping; ValueError names an unknown key or a width the heads do not divide."""
        options = {name: value for name, value in options.items() if name not in RETIRED or value is not True}
        known = {f.name: type(getattr(cls, f.name)) for f in fields(cls)}
        if unknown := set(options) - set(known):
            raise ValueError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        chosen = cls(**{name: known[name](value) for name, value in options.items()})
        if chosen.hidden_dim % chosen.num_heads:
            raise ValueError(f"hidden_dim={chosen.hidden_dim} is not a multiple of num_heads={chosen.num_heads}")
        return chosen

"""Our network: architecture ``default``. Read it from top to bottom; docs/spanet.md explains why it is as it is.

    objects ─ embedding ─ encoder (pairwise kinematics as attention bias) ─┬───────────────┐
    one learned query per target ─ decoder (attends to the objects) ───────┴─ pair scores ─┴→ log-probabilities
                                                                └→ detection logits

It keeps SPANet's idea, symmetric assignment tensors trained over the event's symmetry group (A. Shmakov et al.,
SciPost Phys. 12, 178 (2022)), and changes how they are computed: one encoder, one decoder shared by all targets, and
scores only over the objects of the daughter's own input. Attention is that of arXiv 1706.03762 with norms first, the
pairwise bias that of the Particle Transformer, arXiv 2202.03772.

Shapes: B events, T tokens (objects and GLOBAL vectors, padding included), S ≤ T sequential, P targets, D width,
H heads, E channels of the pair embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hhh_coffea.spanet.network.features import (
    PAIR_FEATURES,
    Normaliser,
    features_of_pairs,
    kinematics,
    pair_numbers,
    transverse_features,
    undirected,
)
from hhh_coffea.spanet.network.interpretations import overlaps_of, with_probabilities
from hhh_coffea.spanet.network.layers import PADDED, DecoderLayer, EncoderLayer, FeedForward
from hhh_coffea.spanet.network.options import DefaultOptions
from hhh_coffea.spanet.network.outputs import Outputs, masked_log_softmax, valid_combinations
from hhh_coffea.spanet.network.scores import CombinationScore, Pairs, PairScore, combinations
from hhh_coffea.topology.topology import Topology, pairs_and_singles


class DefaultSPANet(nn.Module):
    """Our network for any event topology; see :class:`DefaultOptions`.

    ``classes`` gives the number of classes of every classification. ValueError where pairwise features are asked for
    and the sequential inputs lack pt, eta, phi or mass.
    """

    architecture = "default"
    regression_scale: Tensor

    def __init__(self, topology: Topology, options: DefaultOptions, classes: Mapping[str, int] | None = None):
        super().__init__()
        self.topology, self.options, self.classes = topology, options, dict(classes or {})
        d, hidden, e = options.hidden_dim, round(options.feedforward_scale * options.hidden_dim), options.pair_dim
        self.pairwise = options.pairwise_attention or options.pairwise_score
        self.normalisers = nn.ModuleList(Normaliser(i) for i in topology.inputs)
        # the bias of the second linear layer is what tells a jet from a large-radius jet
        self.seen = [undirected(i) if options.invariant else list(range(len(i.features))) for i in topology.inputs]
        self.embeddings = nn.ModuleList(FeedForward(len(seen), d, d) for seen in self.seen)
        if options.interpretations:
            pairs_and_singles(topology)  # ValueError for other targets
        if options.invariant and not self.pairwise:
            raise ValueError("invariant: without pairwise_attention or pairwise_score no direction would be seen")
        if self.pairwise:
            self._check_kinematics()
            self.pair_embedding = nn.Sequential(
                nn.Linear(len(PAIR_FEATURES), options.pair_hidden),
                nn.ReLU(),
                nn.Linear(options.pair_hidden, e),
                nn.ReLU(),
            )
        if options.pairwise_attention:
            self.pair_bias = nn.Linear(e, options.num_heads)
        self.spectators = self._spectators() if options.spectators else ()
        if self.spectators:
            self.spectator = nn.Linear(len(self.spectators) * e, d)
            self.vector_embedding = nn.Sequential(
                nn.Linear(len(PAIR_FEATURES), options.pair_hidden),
                nn.ReLU(),
                nn.Linear(options.pair_hidden, e),
                nn.ReLU(),
            )
        self.encoder = nn.ModuleList(EncoderLayer(options) for _ in range(options.num_encoder_layers))
        self.encoder_norm = nn.LayerNorm(d)

        targets = topology.targets
        self.queries = nn.Parameter(torch.randn(len(targets), d))
        # targets that share everything but their query, and which targets each decoder is for
        shared, n_targets = options.shared_decoder, len(targets)
        self.alike = topology.symmetric_classes if shared else tuple((i,) for i in range(n_targets))
        self.branches = [slice(None)] if shared else [slice(i, i + 1) for i in range(n_targets)]
        self.decoder = nn.ModuleList(
            DecoderLayer(options) for _ in range(len(self.branches) * options.num_decoder_layers)
        )  # those of the first branch, then those of the second, …
        self.decoder_norm = nn.LayerNorm(d)
        # one projection for each orbit of daughters of targets that share: symmetry by construction
        self.projections, self.pair_scores = nn.ModuleDict(), nn.ModuleDict()
        self.score_queries, self.detection = nn.ModuleList(), nn.ModuleList()
        for c, members in enumerate(self.alike):
            n_orbits = len(targets[members[0]].orbits)
            self.score_queries.append(nn.Linear(d, d))
            self.detection.append(FeedForward(d, d, 1))
            for o in range(n_orbits):
                self.projections[f"{c}_{o}"] = nn.Linear(d, d)
            if options.pairwise_score and targets[members[0]].degree > 1:
                if options.combination_score and targets[members[0]].degree > 2:
                    self.pair_scores[f"{c}"] = CombinationScore(options, targets[members[0]])
                    continue
                for low, high in itertools.combinations_with_replacement(range(n_orbits), 2):
                    self.pair_scores[f"{c}_{low}_{high}"] = PairScore(options, n_objects=1 if low == high else 2)

        heads = {r.key: 1 for r in topology.regressions} | {key: self.classes[key] for key in topology.classifications}
        self.head_sizes = heads
        self.event_token = nn.Parameter(torch.randn(d)) if any(k.startswith("EVENT/") for k in heads) else None
        for key in heads:
            if key.split("/")[-2] not in ("EVENT", "PARTICLE"):
                raise ValueError(
                    f"head {key}: architecture 'default' predicts for EVENT and PARTICLE, not for daughters"
                )
        self.heads = nn.ModuleList(FeedForward(d, hidden, out) for out in heads.values())
        self.register_buffer("regression_scale", torch.tensor([[0.0, 1.0]] * len(topology.regressions)).view(-1, 2))

    def _check_kinematics(self) -> None:
        for event_input in self.topology.sequential:
            if kinematics(event_input, torch.zeros(1, 1, len(event_input.features))) is None:
                wanted = "pt, eta, phi (or its sine and cosine) and mass"
                raise ValueError(f"pairwise features need {wanted} in {event_input.name}")

    def _spectators(self) -> tuple[int, ...]:
        """Inputs that no daughter is sought in: sequential ones, and GLOBAL ones with pt and φ."""
        sources = {source for target in self.topology.targets for source in target.sources}
        found = []
        for number, i in enumerate(self.topology.inputs):
            known = kinematics(i, torch.zeros(1, 1, len(i.features)), transverse=i.kind == "global")
            if known is not None and i.name not in sources and None not in sources:
                found.append(number)
        return tuple(found)

    def forward(self, inputs: Sequence[Tensor], masks: Sequence[Tensor]) -> Outputs:
        """Predict from raw features ``inputs[i] (B, M_i, F_i)`` (GeV) and ``masks[i] (B, M_i)``, true where real.

        Inputs in the topology's order; GLOBAL ones have M = 1. The axes of ``assignment[p]`` run over the objects of
        the daughters' own inputs, or over all sequential ones for a daughter without a declared input.
        """
        sequential = [i for i, event_input in enumerate(self.topology.inputs) if event_input.kind == "sequential"]
        order = sequential + [i for i in range(len(inputs)) if i not in sequential]  # what can be assigned comes first
        x = torch.cat([self._embed(i, inputs[i], masks[i]) for i in order], dim=1)  # (B, T, D)
        mask = torch.cat([masks[i] for i in order], dim=1)  # (B, T)
        if self.event_token is not None:
            x = torch.cat([x, self.event_token.expand(x.shape[0], 1, -1)], dim=1)
            mask = F.pad(mask, (0, 1), value=True)
        places, n = self._places([masks[i].shape[1] for i in sequential])

        padding = torch.where(mask, 0.0, PADDED)[:, None, None].expand(
            -1, self.options.num_heads, -1, -1
        )  # (B, H, 1, T)
        bias, pairs = padding.expand(-1, -1, x.shape[1], -1), None  # (B, H, T, T)
        if self.pairwise:
            momenta = self._momenta([inputs[i] for i in sequential], mask[:, :n])
            pairs = self._pairs(momenta, mask[:, :n])
        if pairs is not None and self.options.pairwise_attention:
            others = x.shape[1] - n
            of_pairs = self.pair_bias(pairs.embedded).transpose(1, 2)  # (B, H, Q + 1)
            of_pairs = of_pairs.index_select(2, pairs.numbers.flatten()).unflatten(2, (n, n))
            bias = padding + F.pad(of_pairs, (0, others, 0, others))  # (B, H, T, T)
        if pairs is not None and self.spectators:
            x, bias = self._with_spectators(x, bias, inputs, masks, (momenta, pairs, places))
        for layer in self.encoder:
            x = layer(x, bias)
        x = self.encoder_norm(x)
        # until they have seen the objects the targets are the same in every event: computed once, but for dropout
        v = self.queries.expand(x.shape[0] if self.training or not len(self.decoder) else 1, -1, -1)  # (B or 1, P, D)
        v = torch.cat([self._decode(b, v[:, targets], x, padding) for b, targets in enumerate(self.branches)], dim=1)
        v = self.decoder_norm(v)

        out = Outputs({}, {}, vectors={"EVENT": x[:, -1] if self.event_token is not None else v.mean(1)})
        names = self.topology.target_names
        for c, members in enumerate(self.alike):
            vc = v[:, list(members)]  # (B, p, D)
            spans = [places[source] for source in self.topology.targets[members[0]].sources]
            scores = self._scores(c, vc, x, pairs, spans)  # (B, p, N1, …, Nk)
            valid = valid_combinations([mask[:, a:b] for a, b in spans], list(spans))  # (B, N1, …, Nk)
            logp = masked_log_softmax(scores, valid.unsqueeze(1), batch_axes=2)
            detection = self.detection[c](vc).squeeze(-1)  # (B, p)
            for i, member in enumerate(members):
                out.assignment[names[member]], out.detection[names[member]] = logp[:, i], detection[:, i]
                out.vectors[names[member]] = vc[:, i]
        self._heads(out)
        if self.options.interpretations:
            for target in self.topology.targets:
                detection = out.detection[target.name].view(-1, *(1,) * target.degree)
                out.gain[target.name] = out.assignment[target.name] + detection
            if not self.training:  # the loss needs the gains alone
                return with_probabilities(out, self.topology, overlaps_of(self.topology, inputs, masks))
        return out

    def _embed(self, i: int, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens ``(B, M, D)`` of input ``i`` from its raw features ``x (B, M, F)``."""
        normalised = self.normalisers[i](x, mask)
        embedded: Tensor = self.embeddings[i](normalised[..., self.seen[i]] if self.options.invariant else normalised)
        return embedded

    def _decode(self, branch: int, queries: Tensor, x: Tensor, padding: Tensor) -> Tensor:
        """Queries of a branch's targets ``(B, p, D)`` through its decoder layers."""
        n = self.options.num_decoder_layers
        for layer in list(self.decoder)[branch * n : (branch + 1) * n]:
            queries = layer(queries, x, padding)
        return queries

    def _places(self, sizes: Sequence[int]) -> tuple[dict[str | None, tuple[int, int]], int]:
        """Where each sequential input starts and stops among the tokens (None: all of them), and S."""
        places: dict[str | None, tuple[int, int]] = {}
        start = 0
        for event_input, size in zip(self.topology.sequential, sizes, strict=True):
            places[event_input.name] = (start, start + size)
            start += size
        places[None] = (0, start)
        return places, start

    def _momenta(self, inputs: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
        """pt, eta, sin φ, cos φ and mass of all sequential objects, ``(B, S)`` each, 0 for padding."""
        found = [kinematics(i, x) for i, x in zip(self.topology.sequential, inputs, strict=True)]
        momenta = {k: torch.cat([f[k] for f in found if f is not None], dim=1) for k in found[0] or ()}
        return {k: torch.where(mask, p, 0.0) for k, p in momenta.items()}

    def _pairs(self, momenta: dict[str, Tensor], mask: Tensor) -> Pairs:
        """Kinematics of all Q = S(S − 1)/2 pairs, and of an object with itself."""
        i, j = torch.triu_indices(mask.shape[1], mask.shape[1], 1, device=mask.device)  # (Q) each
        features = features_of_pairs(
            *({k: p.index_select(1, at) for k, p in momenta.items()} for at in (i, j))
        )  # (B, Q, 4)
        features = torch.where((mask.index_select(1, i) & mask.index_select(1, j)).unsqueeze(-1), features, 0.0)
        embedded = self.pair_embedding(F.pad(features, (0, 0, 0, 1)))  # (B, Q + 1, E)
        return Pairs(embedded, pair_numbers(mask.shape[1], mask.device), features[..., 3], momenta["mass"])

    def _with_spectators(
        self,
        x: Tensor,
        bias: Tensor,
        inputs: Sequence[Tensor],
        masks: Sequence[Tensor],
        known: tuple[dict[str, Tensor], Pairs, dict[str | None, tuple[int, int]]],
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``x (B, T, D)`` that know their kinematics with what is never assigned, and ``bias (B, H, T, T)`` with MET.

        A lepton gives the embedding of its pair with each object; a GLOBAL vector that of transverse kinematics: Δφ for ΔR, mT
        for the mass. Those of one input are added up.
        """
        momenta, pairs, places = known
        n, parts = places[None][1], []
        globals_ = [i for i, event_input in enumerate(self.topology.inputs) if event_input.kind == "global"]
        for i in self.spectators:
            event_input = self.topology.inputs[i]
            if event_input.kind == "sequential":
                a, b = places[event_input.name]
                of_pairs = pairs.embedded.index_select(1, pairs.numbers[:, a:b].flatten())
                of_pairs = of_pairs.view(len(x), n, b - a, self.options.pair_dim) * masks[i][:, None, :, None]
                parts.append(of_pairs.sum(2))  # (B, S, E)
                continue
            vector = kinematics(event_input, inputs[i], transverse=True)
            assert vector is not None  # a spectator has what is needed
            vector = {k: torch.where(masks[i], value, 0.0) for k, value in vector.items()}
            embedded = self.vector_embedding(transverse_features(momenta, vector))  # (B, S, E)
            parts.append(embedded)
            if self.options.pairwise_attention:
                token = n + globals_.index(i)
                towards = self.pair_bias(embedded).transpose(1, 2)  # (B, H, S)
                towards = F.pad(towards, (0, x.shape[1] - n)).unsqueeze(-1)  # (B, H, T, 1)
                row = F.pad(towards, (token, x.shape[1] - token - 1))  # the column of this vector
                bias = bias + row + row.transpose(2, 3)
        with_all = self.spectator(torch.cat(parts, dim=-1))  # (B, S, D)
        return x + F.pad(with_all, (0, 0, 0, x.shape[1] - n)), bias

    def _scores(self, c: int, v: Tensor, x: Tensor, pairs: Pairs | None, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Scores of the targets ``alike[c]``, ``v (B, p, D)``, at every combination of objects: ``(B, p, N1, …, Nk)``.

        Σ_d q_d Y1_d[j1] … Yk_d[jk] / √D, plus a :class:`PairScore` for each pair of daughters, or one
        :class:`CombinationScore` for all of them.
        """
        target = self.topology.targets[self.alike[c][0]]
        orbit_of = [next(o for o, orbit in enumerate(target.orbits) if i in orbit) for i in range(target.degree)]
        queries = self.score_queries[c](v) * v.shape[-1] ** -0.5  # (B, p, D)
        sides = list(zip(orbit_of, spans, strict=True))
        projected = {(o, s): self.projections[f"{c}_{o}"](x[:, s[0] : s[1]]) for o, s in dict.fromkeys(sides)}
        factors = [projected[side] for side in sides]  # k times (B, Ni, D), computed once for daughters that are alike
        left = queries.unsqueeze(2)  # (B, p, 1, D)
        for factor in factors[:-1]:
            left = (left.unsqueeze(3) * factor[:, None, None]).flatten(2, 3)  # (B, p, N1·…·Ni, D)
        scores: Tensor = left.flatten(1, 2) @ factors[-1].transpose(1, 2)
        sizes = [b - a for a, b in spans]
        scores = scores.view(v.shape[0], v.shape[1], *sizes)
        if not self.options.pairwise_score or pairs is None:
            return scores
        if self.options.combination_score and target.degree > 2:
            index, place = combinations(tuple(spans), target.group, x.device)
            term = self.pair_scores[f"{c}"](v, x, index, pairs)  # (B, p, L)
            term = F.pad(term, (0, 1)).index_select(2, place)  # 0 for what is never valid
            return scores + term.view(v.shape[0], v.shape[1], *sizes)
        for i, j in itertools.combinations(range(target.degree), 2):
            low, high = (i, j) if orbit_of[i] <= orbit_of[j] else (j, i)
            (a, b), (a2, b2) = spans[low], spans[high]
            pair_score = self.pair_scores[f"{c}_{orbit_of[low]}_{orbit_of[high]}"]
            if (a, b) == (a2, b2) and orbit_of[i] == orbit_of[j]:  # symmetric: each pair once
                left, right = torch.triu_indices(b - a, b - a, 1, device=x.device) + a
                place = pair_numbers(b - a, x.device)
            else:
                place = torch.arange((b - a) * (b2 - a2), device=x.device).view(b - a, b2 - a2)
                left, right = place.flatten() // max(b2 - a2, 1) + a, place.flatten() % max(b2 - a2, 1) + a2
            embedded = pairs.embedded.index_select(1, pairs.numbers[left, right])
            term = pair_score(v, x, left, right, embedded)  # (B, p, L)
            # (B, p, Nlow, Nhigh), 0 for an object with itself, which is never valid
            term = F.pad(term, (0, 1)).index_select(2, place.flatten()).view(v.shape[0], v.shape[1], *place.shape)
            term = term if low == i else term.transpose(2, 3)
            shape = [sizes[axis] if axis in (i, j) else 1 for axis in range(target.degree)]
            scores = scores + term.reshape(v.shape[0], v.shape[1], *shape)
        return scores

    def _heads(self, out: Outputs) -> None:
        keys = [r.key for r in self.topology.regressions] + list(self.topology.classifications)
        for i, (key, head) in enumerate(zip(keys, self.heads, strict=True)):
            y = head(out.vectors[key.split("/")[0]])  # (B, 1 or classes)
            if i >= len(self.topology.regressions):
                out.classification[key] = y
                continue
            y = y.squeeze(-1) * self.regression_scale[i, 1] + self.regression_scale[i, 0]
            log = self.topology.regressions[i].kind == "log_gaussian"
            out.regression[key] = 2 * torch.sinh(y) if log else y

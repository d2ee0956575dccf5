"""Building blocks of the original SPANet: feed-forward blocks, gates, transformer layers, heads.

A. Shmakov et al., SciPost Phys. 12, 178 (2022); M. Fenton et al., Commun. Phys. 7, 139 (2024). Shapes: B events,
T tokens, D ``hidden_dim``; tokens are ``(B, T, D)``, masks ``(B, T)``, true for what is real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hhh_coffea.spanet.network.layers import PADDED, attend


@dataclass(frozen=True)
class OriginalOptions:
    """The options of the original's ``options.json`` that shape the network, with its defaults."""

    hidden_dim: int = 128
    transformer_dim_scale: float = 2.0
    initial_embedding_dim: int = 16
    position_embedding_dim: int = 32
    num_embedding_layers: int = 10
    num_encoder_layers: int = 4
    num_branch_embedding_layers: int = 4
    num_branch_encoder_layers: int = 4
    num_jet_embedding_layers: int = 0
    num_jet_encoder_layers: int = 0
    num_detector_layers: int = 1
    num_regression_layers: int = 1
    num_classification_layers: int = 1
    num_attention_heads: int = 4
    skip_connections: bool = True
    initial_embedding_skip_connections: bool = True
    linear_block_type: str = "GRU"
    transformer_type: str = "Gated"
    linear_activation: str = "gelu"
    transformer_activation: str = "gelu"
    normalization: str = "LayerNorm"
    masking: str = "Filling"
    dropout: float = 0.0

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "linear_block_type": ("GRU", "Basic", "Gated"),
        "transformer_type": ("Gated", "Standard", "NormFirst"),
        "linear_activation": ("gelu", "relu", "elu", "celu", "prelu"),
        "transformer_activation": ("gelu", "relu"),
        "normalization": ("LayerNorm", "BatchNorm", "None"),
        "masking": ("Filling", "Multiplicative", "None"),
    }
    REQUIRED: ClassVar[tuple[str, ...]] = ("split_symmetric_attention", "normalize_features", "mask_sequence_vectors")

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> OriginalOptions:
        """Take what is needed from an ``options.json``; ValueError names an option that is not supported."""
        for name in cls.REQUIRED:
            if not options.get(name, True):
                raise ValueError(f"option {name}={options[name]!r} is not supported: only true is")
        chosen: dict[str, Any] = {}
        for f in fields(cls):
            if f.name not in options:
                continue
            value = type(getattr(cls, f.name))(options[f.name])
            known = {choice.lower(): choice for choice in cls.CHOICES.get(f.name, ())}
            if known and str(value).lower() not in known:
                raise ValueError(f"option {f.name}={value!r} is not supported; known: {', '.join(known.values())}")
            chosen[f.name] = known.get(str(value).lower(), value)
        return cls(**chosen)


def activation(name: str, features: int) -> nn.Module:
    """Activation function by its name in the options; PReLU has one slope per feature."""
    if name == "prelu":
        return RowPReLU(features)
    functions: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "elu": nn.ELU, "celu": nn.CELU}
    return functions[name]()


class RowPReLU(nn.PReLU):
    """PReLU over the last axis; torch's own takes the second for the channels."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.where(x > 0, x, self.weight * x)


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation over all tokens of all events, padding included, as the original has it."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x.reshape(-1, x.shape[-1])).view_as(x)


def normalization(name: str, features: int) -> nn.Module:
    """Normalisation layer by its name in the options."""
    layers: dict[str, Callable[[int], nn.Module]] = {
        "LayerNorm": nn.LayerNorm,
        "BatchNorm": RowNorm,
        "None": nn.Identity,
    }
    return layers[name](features)


class Gate(nn.Module):
    """GRU-type gate of the gated transformer (E. Parisotto et al., arXiv 1910.06764, §3.2), six D×D matrices packed.

    r = σ(W_r y + U_r x), z = σ(W_z y + U_z x − b), h = tanh(W_g y + U_g (r∘x)), output (1 − z)∘x + z∘h.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.update = nn.Linear(dim, 3 * dim)  # W_r, W_z, W_g
        self.state = nn.Linear(dim, 2 * dim, bias=False)  # U_r, U_z
        self.candidate = nn.Linear(dim, dim, bias=False)  # U_g
        self.bias = nn.Parameter(torch.full((dim,), 2.0))  # starts nearly closed: the layer begins as identity

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Let the new value ``y (..., D)`` into the old ``x (..., D)``."""
        wr, wz, wg = self.update(y).chunk(3, dim=-1)
        ur, uz = self.state(x).chunk(2, dim=-1)
        r = torch.sigmoid(wr + ur)
        z = torch.sigmoid(wz + uz - self.bias)
        h = torch.tanh(wg + self.candidate(r * x))
        return torch.lerp(x, h, z)


class Block(nn.Module):
    """One feed-forward block (..., I) → (..., O) of the configured type, padding set to zero afterwards."""

    def __init__(self, options: OriginalOptions, dim_in: int, dim_out: int, skip: bool):
        super().__init__()
        self.kind, self.masked = options.linear_block_type, options.masking != "None"
        self.dropout = nn.Dropout(options.dropout)
        self.residual: nn.Module | None = None
        if skip:
            self.residual = nn.Identity() if dim_in == dim_out else nn.Linear(dim_in, dim_out)
        if self.kind == "Basic":
            self.linear_1 = nn.Linear(dim_in, dim_out)
            self.act_1 = activation(options.linear_activation, dim_out)
            self.norm = normalization(options.normalization, dim_out)
            return
        hidden = round(options.transformer_dim_scale * dim_in)
        first, second = (dim_in, hidden), (hidden, dim_out)
        self.linear_1, self.linear_2 = nn.Linear(*first), nn.Linear(*second)
        self.act_1 = activation(options.linear_activation, hidden)
        if self.kind == "GRU":
            self.norm = normalization(options.normalization, dim_in)
            self.act_2 = activation(options.linear_activation, dim_out)
            self.gate = Gate(dim_out) if skip else None
        else:
            self.norm = normalization(options.normalization, dim_out)
            self.glu_gate, self.glu_value = nn.Linear(dim_out, dim_out), nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``x (..., I)``, ``mask (...)`` true for real tokens → ``(..., O)``."""
        old = self.residual(x) if self.residual is not None else None
        if self.kind == "GRU":
            y = self.dropout(self.act_1(self.linear_1(self.norm(x))))
            y = self.dropout(self.act_2(self.linear_2(y)))
            if self.gate is not None and old is not None:
                y = self.gate(y, old)
        elif self.kind == "Basic":
            y = self.act_1(self.linear_1(x))
            y = self.dropout(self.norm(y if old is None else y + old))
        else:  # gated linear unit
            y = self.dropout(self.linear_2(self.act_1(self.linear_1(x))))
            y = torch.sigmoid(self.glu_gate(y)) * self.glu_value(y)
            y = self.norm(y if old is None else y + old)
        return masked(y, mask) if self.masked else y


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set the padded rows of ``x (..., D)`` to zero; ``mask (...)`` is true for real ones."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the real tokens, with packed projections."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (B, T, D)``, ``mask (B, T)`` → ``(B, T, D)``."""
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, T, D/H)
        bias = torch.where(mask, 0.0, PADDED)[:, None, None].expand(-1, self.heads, t, -1)
        return self.out(attend(q, k, v, bias, self.dropout if self.training else 0.0))  # type: ignore[no-any-return]


class GatedLayer(nn.Module):
    """Transformer layer with gates in place of residual sums: x ← Gate(attention(norm(x)), x), then a block."""

    def __init__(self, options: OriginalOptions):
        super().__init__()
        dim = options.hidden_dim
        self.norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, options.num_attention_heads, options.dropout)
        self.gate = Gate(dim)
        self.feed_forward = Block(options, dim, dim, skip=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (B, T, D)``, ``mask (B, T)`` → ``(B, T, D)``."""
        x = self.gate(self.attention(self.norm(x), mask), x)
        return self.feed_forward(x, mask)  # type: ignore[no-any-return]


class PlainLayer(nn.Module):
    """The textbook transformer layer (A. Vaswani et al., arXiv 1706.03762), norm after or before (NormFirst)."""

    def __init__(self, options: OriginalOptions):
        super().__init__()
        dim, hidden = options.hidden_dim, round(options.transformer_dim_scale * options.hidden_dim)
        self.norm_first = options.transformer_type == "NormFirst"
        self.attention = SelfAttention(dim, options.num_attention_heads, options.dropout)
        self.linear_1, self.linear_2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.act = activation(options.transformer_activation, hidden)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (B, T, D)``, ``mask (B, T)`` → ``(B, T, D)``."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.norm_1(x), mask))
            return x + self._feed_forward(self.norm_2(x))
        x = self.norm_1(x + self.dropout(self.attention(x, mask)))
        return self.norm_2(x + self._feed_forward(x))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear_2(self.dropout(self.act(self.linear_1(x)))))  # type: ignore[no-any-return]


class StackedEncoder(nn.Module):
    """Blocks, then transformer layers over the tokens and one learned token that collects a summary."""

    def __init__(self, options: OriginalOptions, blocks: int, layers: int):
        super().__init__()
        dim, gated = options.hidden_dim, options.transformer_type == "Gated"
        self.embedding = nn.ModuleList(Block(options, dim, dim, options.skip_connections) for _ in range(blocks))
        self.token = nn.Parameter(torch.randn(dim))
        self.layers = nn.ModuleList(GatedLayer(options) if gated else PlainLayer(options) for _ in range(layers))
        self.mask_after = not gated and options.masking != "None"

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``x (B, T, D)``, ``mask (B, T)`` → encoded tokens ``(B, T, D)`` and summary ``(B, D)``."""
        for block in self.embedding:
            x = block(x, mask)
        x = torch.cat([self.token.expand(x.shape[0], 1, -1), x], dim=1)  # (B, 1 + T, D)
        mask = F.pad(mask, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, mask)
        if self.mask_after and len(self.layers):
            x = masked(x, mask)
        return x[:, 1:], x[:, 0]


class Head(nn.Module):
    """Blocks, batch normalisation and a linear layer: (B, D) → (B, out)."""

    def __init__(self, options: OriginalOptions, blocks: int, out: int):
        super().__init__()
        dim = options.hidden_dim
        self.blocks = nn.ModuleList(Block(options, dim, dim, options.skip_connections) for _ in range(blocks))
        self.norm = nn.BatchNorm1d(dim)
        self.linear = nn.Linear(dim, out)

    def forward(self, x: Tensor) -> Tensor:
        """``x (B, D)`` → ``(B, out)``."""
        for block in self.blocks:
            x = block(x)
        return self.linear(self.norm(x))  # type: ignore[no-any-return]

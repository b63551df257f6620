"""SymbolicLight V1 in PyTorch, all positions at once (arXiv 2605.21333).

The same arithmetic as the engine's, with surrogate gradients where a spike is a step. Module names
give the official checkpoint names, so `state_dict()` is an official checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from edgespike.model.config import ModelConfig


class _Spike(torch.autograd.Function):
    """Step at `threshold`; backward the arctan surrogate 1 / (1 + (k (v - threshold))^2)."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: float, k: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.threshold, ctx.k = threshold, k
        return (v >= threshold).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (v,) = ctx.saved_tensors
        return grad / (1 + (ctx.k * (v - ctx.threshold)) ** 2), None, None


class _Membrane(torch.autograd.Function):
    """Leaky integration over time with reset: x [B, T, D] -> spikes [B, T, D].

    Backward treats each step on its own: the surrogate at the membrane before its reset, no
    gradient through the steps before (a spike forgets them anyway).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, leak: float, threshold: float, k: float) -> Tensor:
        steps = x.float().transpose(0, 1).contiguous()
        before = torch.empty_like(steps)
        v = torch.zeros_like(steps[0])
        for t in range(steps.shape[0]):
            v = torch.clamp(torch.add(steps[t], v, alpha=leak), -3.0, 3.0)
            before[t] = v
            v = v * (v < threshold)
        ctx.save_for_backward(before)
        ctx.threshold, ctx.k = threshold, k
        return (before >= threshold).to(x.dtype).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (before,) = ctx.saved_tensors
        surrogate = 1 / (1 + (ctx.k * (before - ctx.threshold)) ** 2)
        return grad * surrogate.transpose(0, 1), None, None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on [B, H, T, d]: pair j is (element j, element j + d/2)."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)


@dataclass(frozen=True)
class Place:
    """What depends on positions alone: RoPE's cos and sin [T, d/2], which keys are near [T, T], and
    whether that is all keys before."""

    cos: Tensor
    sin: Tensor
    near: Tensor
    causal: bool


class Attention(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.q_proj = nn.Linear(c.embed_dim, c.embed_dim, bias=False)
        self.k_proj = nn.Linear(c.embed_dim, c.embed_dim, bias=False)
        self.v_proj = nn.Linear(c.embed_dim, c.embed_dim, bias=False)


class Mixer(nn.Module):
    """Token mixing: a decaying memory of spikes beside attention to the keys that fired."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.c = c
        self.tcam_proj = nn.Linear(c.embed_dim, c.embed_dim, bias=False)
        self.out_proj = nn.Linear(c.embed_dim, c.embed_dim, bias=False)
        self.norm = nn.LayerNorm(c.embed_dim)
        # Memories of about 1, 2, 4, ... positions: heads differ in how far they look back.
        spread = torch.linspace(0.0, 4.0, c.n_heads)
        self.decay_raw = nn.Parameter(spread)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        if c.attention:
            self.sparse_attn = Attention(c)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.c.n_heads, self.c.head_dim).transpose(1, 2)

    def memory(self, t: Tensor) -> Tensor:
        """h_i = a h_(i-1) + (1 - a) t_i along the positions of t [B, H, T, d], as one product."""
        a = torch.sigmoid(self.decay_raw.float())
        n = t.shape[2]
        steps = torch.arange(n, device=t.device)
        distance = steps[:, None] - steps[None, :]
        powers = torch.exp(distance.clamp(min=0) * torch.log(a)[:, None, None])
        weights = torch.where(distance >= 0, (1 - a)[:, None, None] * powers, 0.0)
        return torch.einsum("hij,bhjd->bhid", weights.to(t.dtype), t)

    def attention(self, x: Tensor, fired: Tensor | None, place: Place) -> Tensor:
        """Attention [B, H, T, d] to the keys that fired; zeros at positions that didn't."""
        a = self.sparse_attn
        weight = torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight])
        q, k, v = (self._heads(p) for p in linear(x, weight).chunk(3, dim=-1))
        q, k = (rotate(p, place.cos, place.sin).to(v.dtype) for p in (q, k))
        if fired is None:  # the usual case, and the fast one
            return scaled_dot_product_attention(q, k, v, is_causal=True)
        # A position that fired sees itself; one that didn't is given itself and zeroed after.
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        mask = (place.near & fired[:, None, None, :]) | itself
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attended * fired[:, None, :, None]

    def forward(self, x: Tensor, s: Tensor, fired: Tensor | None, place: Place) -> Tensor:
        mixed = self.memory(self._heads(self.tcam_proj(s)))
        if self.c.attention:
            g = torch.sigmoid(self.attn_gate)
            attended = self.attention(x, fired, place)
            mixed = g * attended + (1 - g) * mixed
        y = self.out_proj(mixed.transpose(1, 2).reshape(x.shape))
        normed: Tensor = self.norm(x + y)
        return normed


class FeedForward(nn.Module):
    def __init__(self, c: ModelConfig, surrogate: float) -> None:
        super().__init__()
        self.threshold, self.surrogate = c.threshold, surrogate
        self.up = nn.Linear(c.embed_dim, c.intermediate_dim, bias=False)
        self.down = nn.Linear(c.intermediate_dim, c.embed_dim, bias=False)
        self.norm = nn.LayerNorm(c.embed_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The residual stream after this layer, and the binary hidden activations."""
        u = _Spike.apply(self.up(x), self.threshold, self.surrogate)
        return self.norm(x + self.down(u)), u


class Block(nn.Module):
    def __init__(self, c: ModelConfig, surrogate: float) -> None:
        super().__init__()
        self.threshold, self.surrogate = c.threshold, surrogate
        self.tcam = Mixer(c)
        self.ffn = FeedForward(c, surrogate)

    def forward(
        self, x: Tensor, s: Tensor, fired: Tensor | None, place: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The residual stream and spikes [B, T, D] after this layer, and the firing rate between.

        `fired` [B, T] are the positions with a spike; None where all have one and all keys before a
        position are near it.
        """
        x, u = self.ffn(self.tcam(x, s, fired, place))
        return x, _Spike.apply(x, self.threshold, self.surrogate), u.mean()


class Frontend(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.text_embedding = nn.Embedding(c.vocab_size, c.embed_dim)


class Encoder(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.frontend = Frontend(c)
        self.norm = nn.LayerNorm(c.embed_dim)


class Head(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.output_proj = nn.Linear(c.embed_dim, c.vocab_size, bias=False)
        if c.dynamic_prior:
            self.prior_net = nn.Sequential(
                nn.Linear(c.embed_dim, c.prior_dim, bias=False),
                nn.GELU(),
                nn.Linear(c.prior_dim, c.vocab_size, bias=False),
            )
        else:
            self.register_buffer("log_prior", torch.zeros(c.vocab_size))
        self.prior_weight = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        prior = self.prior_net(x) if hasattr(self, "prior_net") else self.log_prior
        logits: Tensor = self.output_proj(x) + self.prior_weight * prior
        return logits


class SymbolicLight(nn.Module):
    """`surrogate` is how steep the gradient falls beside the threshold of a spike."""

    def __init__(self, c: ModelConfig, surrogate: float = 2.0) -> None:
        super().__init__()
        self.c, self.surrogate = c, surrogate
        self.spike_encoder = Encoder(c)
        self.blocks = nn.ModuleList(Block(c, surrogate) for _ in range(c.n_layers))
        self.output_head = Head(c)
        for name, p in self.named_parameters():
            if p.dim() == 2 and "text_embedding" not in name:
                # Unit preactivations: a sixth of the units fires at threshold 1 from the start.
                gain = 0.3 if "output_head" in name else 1.0
                nn.init.normal_(p, std=gain * p.shape[1] ** -0.5)

    def place(self, length: int, device: torch.device, gap: int = 0) -> Place:
        """Positions 0, 1, ...; those after the anchors are `gap` later."""
        c = self.c
        at = torch.arange(length, device=device)
        pair = torch.arange(c.head_dim // 2, device=device)
        angle = (at + gap * (at >= c.anchors))[:, None] * c.rope_theta ** (-2 * pair / c.head_dim)
        distance = at[:, None] - at[None, :]
        near = (distance >= 0) & ((distance <= c.window) | (at[None, :] < c.anchors))
        return Place(angle.cos(), angle.sin(), near, causal=length <= c.window + 1)

    def forward(
        self, tokens: Tensor, at: Tensor | None = None, gap: int = 0
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of tokens [B, T], and the firing rate of every spike-fed matrix.

        The logits are [B, T, V], or [n, V] for the n positions where `at` [B, T] is true. A `gap`
        behind the anchors is what a session sees whose window has left them far behind.
        """
        c = self.c
        place = self.place(tokens.shape[1], tokens.device, gap)
        x = self.spike_encoder.norm(self.spike_encoder.frontend.text_embedding(tokens))
        s: Tensor = _Membrane.apply(x, c.leak, c.threshold, self.surrogate)
        rates: list[Tensor] = []
        for block in self.blocks:
            fired = s.detach().any(dim=-1)
            every = place.causal and bool(fired.all())
            rates.append(s.mean())
            x, s, rate = block(x, s, None if every else fired, place)
            rates.append(rate)
        return self.output_head(x if at is None else x[at]), rates


OFFICIAL = {
    "n_layers": "n_layers", "embed_dim": "embed_dim", "vocab_size": "vocab_size",
    "n_heads": "n_heads", "head_dim": "head_dim", "intermediate_dim": "intermediate_dim",
    "threshold": "spike_threshold", "leak": "leak_factor", "rope_theta": "rope_theta",
    "window": "sparse_attn_window", "anchors": "n_global_anchors",
    "attention": "enable_sparse_attn", "dynamic_prior": "enable_dynamic_prior",
    "context": "max_seq_len", "active_vocab": "active_vocab",
}  # fmt: skip
"""Our names of configuration entries -> those of official checkpoints."""


def official_config(c: ModelConfig) -> dict[str, object]:
    """`c` as the `config` entry of an official checkpoint."""
    return {OFFICIAL[name]: value for name, value in asdict(c).items()}


def from_official(config: dict[str, Any]) -> ModelConfig:
    """The configuration of an official checkpoint; missing keys take the defaults."""
    return ModelConfig(
        **{ours: config[theirs] for ours, theirs in OFFICIAL.items() if theirs in config}
    )

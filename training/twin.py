"""The dense twin: a plain pre-norm Transformer to compare with, trained by the same code.

Causal attention with RoPE and a GELU feed-forward layer of every size that makes the two models
have the same number of parameters (Xiong et al., arXiv 2002.04745, for the place of the norms).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from edgespike.model.config import ModelConfig
from training.model import rotate


def twin_hidden(c: ModelConfig) -> int:
    """Feed-forward units per layer: those of the spiking model, its fifth square matrix of a layer
    and its prior net spread over the layers."""
    spare = c.embed_dim**2 + c.prior_dim * (c.embed_dim + c.vocab_size) / c.n_layers
    return c.intermediate_dim + round(spare / (2 * c.embed_dim))


class _Layer(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.n_heads = c.n_heads
        self.mix_norm = nn.LayerNorm(c.embed_dim)
        self.qkv = nn.Linear(c.embed_dim, 3 * c.embed_dim, bias=False)
        self.out = nn.Linear(c.embed_dim, c.embed_dim, bias=False)
        self.norm = nn.LayerNorm(c.embed_dim)
        self.up = nn.Linear(c.embed_dim, twin_hidden(c), bias=False)
        self.down = nn.Linear(twin_hidden(c), c.embed_dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        parts = self.qkv(self.mix_norm(x)).chunk(3, dim=-1)
        q, k, v = (p.view(*p.shape[:2], self.n_heads, -1).transpose(1, 2) for p in parts)
        q, k = (rotate(p, cos, sin).to(v.dtype) for p in (q, k))
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        y: Tensor = x + self.down(gelu(self.up(self.norm(x))))
        return y


class DenseTwin(nn.Module):
    """Takes and gives what SymbolicLight does; its firing rates are those of a dense model: none
    are told. Its window is all that it is given."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.c = c
        self.embedding = nn.Embedding(c.vocab_size, c.embed_dim)
        self.blocks = nn.ModuleList(_Layer(c) for _ in range(c.n_layers))
        self.norm = nn.LayerNorm(c.embed_dim)
        self.head = nn.Linear(c.embed_dim, c.vocab_size, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if "embedding" in name else p.shape[1] ** -0.5)

    def forward(
        self, tokens: Tensor, at: Tensor | None = None, gap: int = 0
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, T, V], or [n, V] where `at` [B, T] is true; see SymbolicLight.forward."""
        c = self.c
        place = torch.arange(tokens.shape[1], device=tokens.device)
        place = place + gap * (place >= c.anchors)
        pair = torch.arange(c.head_dim // 2, device=tokens.device)
        angle = place[:, None] * c.rope_theta ** (-2 * pair / c.head_dim)
        x = self.embedding(tokens)
        for layer in self.blocks:
            x = layer(x, angle.cos(), angle.sin())
        x = self.norm(x)
        return self.head(x if at is None else x[at]), []

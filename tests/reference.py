"""The slow, obvious model: SymbolicLight V1 in NumPy, one position at a time.

Every kernel of the engine is compared with this file. It follows the model's definition step by
step (arXiv 2605.21333, section 3) and knows nothing of layouts, chunks or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import erf

import numpy as np
from numpy.typing import NDArray

from edgespike.model.config import ModelConfig

F32 = NDArray[np.float32]
Project = Callable[[str, F32], F32]


def layer_norm(x: F32, weight: F32, bias: F32) -> F32:
    """LayerNorm of [D] with eps 1e-5 and the biased variance."""
    centred = x.astype(np.float64) - x.astype(np.float64).mean()
    scaled = centred / np.sqrt((centred**2).mean() + 1e-5)
    return (scaled * weight + bias).astype(np.float32)


def sigmoid(x: NDArray[np.floating]) -> F32:
    return (1.0 / (1.0 + np.exp(-x.astype(np.float64)))).astype(np.float32)


def gelu(x: F32) -> F32:
    """Exact GELU, x * Phi(x)."""
    return np.array([0.5 * v * (1.0 + erf(v / 2**0.5)) for v in x.tolist()], np.float32)


def rotate(x: F32, position: int, theta: float) -> F32:
    """RoPE on [H, d]: pair j is (element j, element j + d/2), angle position * theta**(-2j/d)."""
    half = x.shape[1] // 2
    angle = position * theta ** (-2.0 * np.arange(half) / x.shape[1])
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    low, high = x[:, :half], x[:, half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=1)


class ReferenceModel:
    """The model over a state dict of float32 arrays, with official names and [out, in] matrices.

    `project(name, x)` is the dense product W x of the named weight; the default is plain float32,
    an integer twin passes its own.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, F32], project: Project | None = None
    ) -> None:
        self.config = config
        self.weights = weights
        self.project = project or (lambda name, x: weights[name] @ x)
        self.position = 0
        self.membrane = np.zeros(config.embed_dim, np.float32)
        self.memory = [
            np.zeros((config.n_heads, config.head_dim), np.float32) for _ in range(config.n_layers)
        ]
        self.cache: list[list[tuple[int, F32, F32]]] = [[] for _ in range(config.n_layers)]
        self.spikes: list[list[NDArray[np.bool_]]] = [[] for _ in range(config.n_layers + 1)]

    def step(self, token: int) -> F32:
        """Advance by one token; returns logits [V]."""
        config, w = self.config, self.weights
        x = layer_norm(
            w["spike_encoder.frontend.text_embedding.weight"][token],
            w["spike_encoder.norm.weight"],
            w["spike_encoder.norm.bias"],
        )
        v = np.clip(np.float32(config.leak) * self.membrane + x, -3, 3).astype(np.float32)
        s = v >= config.threshold
        self.membrane = np.where(s, np.float32(0), v)
        self.spikes[0].append(s)
        for i in range(config.n_layers):
            block = f"blocks.{i}."
            y = self.project(block + "tcam.out_proj.weight", self._mixed(i, x, s).reshape(-1))
            x = layer_norm(x + y, w[block + "tcam.norm.weight"], w[block + "tcam.norm.bias"])
            u = self.project(block + "ffn.up.weight", x) >= config.threshold
            y = w[block + "ffn.down.weight"] @ u.astype(np.float32)
            x = layer_norm(x + y, w[block + "ffn.norm.weight"], w[block + "ffn.norm.bias"])
            s = x >= config.threshold
            self.spikes[i + 1].append(s)
        self.position += 1
        return self._logits(x)

    def _mixed(self, i: int, x: F32, s: NDArray[np.bool_]) -> F32:
        """Steps 2.1 to 2.4: decay memory and attention, mixed by the gate. [H, d]"""
        config, w = self.config, self.weights
        heads = (config.n_heads, config.head_dim)
        tcam = f"blocks.{i}.tcam."
        t = (w[tcam + "tcam_proj.weight"] @ s.astype(np.float32)).reshape(heads)
        a = sigmoid(w[tcam + "decay_raw"])[:, None]
        self.memory[i] = a * self.memory[i] + (1 - a) * t
        if not config.attention:
            return self.memory[i]
        q, k, v = (
            self.project(f"{tcam}sparse_attn.{n}_proj.weight", x).reshape(heads) for n in "qkv"
        )
        q, k = (rotate(z, self.position, config.rope_theta) for z in (q, k))
        attended = np.zeros(heads, np.float32)
        if s.any():
            self.cache[i].append((self.position, k, v))
            seen = [
                entry
                for entry in self.cache[i]
                if self.position - entry[0] <= config.window or entry[0] < config.anchors
            ]
            keys = np.stack([entry[1] for entry in seen])
            values = np.stack([entry[2] for entry in seen])
            scores = np.einsum("hd,nhd->hn", q, keys).astype(np.float64) / config.head_dim**0.5
            p = np.exp(scores - scores.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            attended = np.einsum("hn,nhd->hd", p, values).astype(np.float32)
        g = sigmoid(w[tcam + "attn_gate"])
        return g * attended + (1 - g) * self.memory[i]

    def _logits(self, x: F32) -> F32:
        w = self.weights
        if self.config.dynamic_prior:
            hidden = gelu(self.project("output_head.prior_net.0.weight", x))
            prior = self.project("output_head.prior_net.2.weight", hidden)
        else:
            prior = w["output_head.log_prior"]
        logits = self.project("output_head.output_proj.weight", x)
        return (logits + w["output_head.prior_weight"][0] * prior).astype(np.float32)

    def run(self, tokens: Sequence[int]) -> F32:
        """Logits [len(tokens), V]."""
        return np.stack([self.step(int(token)) for token in tokens])

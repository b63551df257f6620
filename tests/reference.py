"""The slow, obvious model: SymbolicLight V1 in NumPy, one position at a time.

Every kernel of the engine is compared with this file. It follows the model's definition step by step
(arXiv 2605.21333, section 3) and knows nothing of layouts, chunks or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    from math import erf

    return np.array([0.5 * v * (1.0 + erf(v / 2**0.5)) for v in x.tolist()], np.float32)


def rotate(x: F32, position: int, theta: float) -> F32:
    """RoPE on [H, d]: pair j is (element j, element j + d/2), angle position * theta**(-2j/d)."""
    half = x.shape[1] // 2
    angle = position * theta ** (-2.0 * np.arange(half) / x.shape[1])
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    low, high = x[:, :half], x[:, half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=1)


@dataclass
class ReferenceModel:
    """The model over a state dict of float32 arrays.

    `project(name, x)` is the dense product W x of the named weight; the default is exact float32, an
    integer twin passes its own.
    """

    config: Mapping[str, object]
    weights: Mapping[str, F32]
    project: Project | None = None
    position: int = 0
    membrane: F32 = field(init=False)
    memory: list[F32] = field(init=False)
    cache: list[list[tuple[int, F32, F32]]] = field(init=False)
    spikes: list[list[NDArray[np.bool_]]] = field(init=False)

    def __post_init__(self) -> None:
        c = self.config
        layers, heads, dim = int(c["n_layers"]), int(c["n_heads"]), int(c["head_dim"])  # type: ignore[call-overload]
        self.membrane = np.zeros(heads * dim, np.float32)
        self.memory = [np.zeros((heads, dim), np.float32) for _ in range(layers)]
        self.cache = [[] for _ in range(layers)]
        self.spikes = [[] for _ in range(layers + 1)]

    def dense(self, name: str, x: F32) -> F32:
        if self.project is not None:
            return self.project(name, x)
        return self.weights[name] @ x

    def step(self, token: int) -> F32:
        """Advance by one token; returns logits [V]."""
        c, w = self.config, self.weights
        heads, dim = int(c["n_heads"]), int(c["head_dim"])  # type: ignore[call-overload]
        threshold, leak = float(c["spike_threshold"]), float(c["leak_factor"])  # type: ignore[arg-type]
        window, anchors = int(c["sparse_attn_window"]), int(c["n_global_anchors"])  # type: ignore[call-overload]
        theta = float(c["rope_theta"])  # type: ignore[arg-type]

        x = layer_norm(
            w["spike_encoder.frontend.text_embedding.weight"][token],
            w["spike_encoder.norm.weight"],
            w["spike_encoder.norm.bias"],
        )
        self.membrane = np.clip(np.float32(leak) * self.membrane + x, -3, 3).astype(np.float32)
        s = self.membrane >= threshold
        self.membrane[s] = 0
        self.spikes[0].append(s)

        for i in range(int(c["n_layers"])):  # type: ignore[call-overload]
            b = f"blocks.{i}."
            fired = bool(s.any())
            t = (w[b + "tcam.tcam_proj.weight"] @ s.astype(np.float32)).reshape(heads, dim)
            a = sigmoid(w[b + "tcam.decay_raw"])[:, None]
            self.memory[i] = a * self.memory[i] + (1 - a) * t
            mixed = self.memory[i]
            if c["enable_sparse_attn"]:
                q, k, v = (
                    self.dense(f"{b}tcam.sparse_attn.{n}_proj.weight", x).reshape(heads, dim)
                    for n in "qkv"
                )
                q, k = rotate(q, self.position, theta), rotate(k, self.position, theta)
                attended = np.zeros((heads, dim), np.float32)
                if fired:
                    self.cache[i].append((self.position, k, v))
                    seen = [
                        e for e in self.cache[i] if self.position - e[0] <= window or e[0] < anchors
                    ]
                    keys, values = np.stack([e[1] for e in seen]), np.stack([e[2] for e in seen])
                    scores = np.einsum("hd,nhd->hn", q, keys).astype(np.float64) / np.sqrt(dim)
                    p = np.exp(scores - scores.max(1, keepdims=True))
                    p /= p.sum(1, keepdims=True)
                    attended = np.einsum("hn,nhd->hd", p, values).astype(np.float32)
                g = sigmoid(w[b + "tcam.attn_gate"])
                mixed = g * attended + (1 - g) * mixed
            y = self.dense(b + "tcam.out_proj.weight", mixed.reshape(-1))
            x = layer_norm(x + y, w[b + "tcam.norm.weight"], w[b + "tcam.norm.bias"])
            u = self.dense(b + "ffn.up.weight", x) >= threshold
            y = w[b + "ffn.down.weight"] @ u.astype(np.float32)
            x = layer_norm(x + y, w[b + "ffn.norm.weight"], w[b + "ffn.norm.bias"])
            s = x >= threshold
            self.spikes[i + 1].append(s)

        self.position += 1
        prior_weight = np.float32(w.get("output_head.prior_weight", np.float32(0.1)))
        if c["enable_dynamic_prior"]:
            prior = self.dense(
                "output_head.prior_net.2.weight",
                gelu(self.dense("output_head.prior_net.0.weight", x)),
            )
        else:
            prior = w["output_head.log_prior"]
        return (self.dense("output_head.output_proj.weight", x) + prior_weight * prior).astype(np.float32)

    def run(self, tokens: Sequence[int]) -> F32:
        """Logits [len(tokens), V]."""
        return np.stack([self.step(int(t)) for t in tokens])

"""llama.cpp, through llama-cpp-python: model files of well-known shapes, and their speed.

Imports nothing of edgespike, so that it runs in an environment that has only the peer.
Weights are random: the time of a token depends on how many bytes are read, not on what they say.
"""

from __future__ import annotations

import importlib.metadata
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.energy import Meter

_BLOCK, _BLOCK_BYTES = 32, 34  # Q8_0: an fp16 scale and 32 bytes
_WARM = 8
"""Tokens after which every page of the file has been touched."""


@dataclass(frozen=True, slots=True)
class PeerShape:
    """A dense transformer of the llama architecture."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int


SHAPES = {
    "TinyLlama-1.1B": PeerShape(22, 2048, 32, 4, 64, 5632, 32000),
    "Falcon3-1B": PeerShape(18, 2048, 8, 4, 256, 8192, 131072),
    "tiny": PeerShape(2, 64, 4, 2, 32, 192, 512),
}


def versions() -> dict[str, str]:
    """What is installed. Raises ImportError with a hint when it isn't all there."""
    try:
        import gguf  # noqa: F401
        import llama_cpp
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed: pip install llama-cpp-python gguf "
            "(or name another Python with --peer-python)"
        ) from None
    info = llama_cpp.llama_print_system_info().decode()
    return {
        "llama_cpp_python": llama_cpp.__version__,
        "gguf": importlib.metadata.version("gguf"),
        "system_info": " ".join(info.split()),
    }


def write(path: str, shape: str) -> dict[str, Any]:
    """Write a Q8_0 GGUF file of SHAPES[shape] with random weights; the layers share theirs."""
    import gguf
    import numpy as np

    facts = SHAPES[shape]
    rng = np.random.default_rng(0)
    made: dict[tuple[int, int], Any] = {}

    def matrix(rows: int, columns: int) -> Any:
        if (rows, columns) not in made:
            blocks = rng.integers(0, 256, (rows, columns // _BLOCK, _BLOCK_BYTES), np.uint8)
            scale = np.array([columns**-0.5 / 64], np.float16)  # keeps variances near 1
            blocks[:, :, :2] = scale.view(np.uint8)
            made[rows, columns] = blocks.reshape(rows, -1)
        return made[rows, columns]

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"{shape}, random weights")
    writer.add_context_length(8192)
    writer.add_block_count(facts.layers)
    writer.add_embedding_length(facts.width)
    writer.add_feed_forward_length(facts.hidden)
    writer.add_head_count(facts.heads)
    writer.add_head_count_kv(facts.kv_heads)
    writer.add_key_length(facts.head_dim)
    writer.add_value_length(facts.head_dim)
    writer.add_rope_dimension_count(facts.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(facts.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_vocabulary(writer, facts.vocab)
    for name, size in _tensors(facts):
        if len(size) == 1:
            writer.add_tensor(name, np.ones(size, np.float32))
        else:
            quantised = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, matrix(*size), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return describe(path)


def describe(path: str) -> dict[str, Any]:
    """Size of a GGUF file, and the bytes of weights that one token reads: all but the embedding,
    unless the output shares it, of which it reads one row."""
    import gguf

    sizes = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors}
    shared = "output.weight" not in sizes
    unread = 0 if shared else sizes["token_embd.weight"]
    return {"bytes": Path(path).stat().st_size, "bytes_per_token": sum(sizes.values()) - unread}


def _tensors(facts: PeerShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    D, F = facts.width, facts.hidden
    attended, kept = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    yield "token_embd.weight", (facts.vocab, D)
    for i in range(facts.layers):
        block = f"blk.{i}."
        yield block + "attn_norm.weight", (D,)
        yield block + "attn_q.weight", (attended, D)
        yield block + "attn_k.weight", (kept, D)
        yield block + "attn_v.weight", (kept, D)
        yield block + "attn_output.weight", (D, attended)
        yield block + "ffn_norm.weight", (D,)
        yield block + "ffn_gate.weight", (F, D)
        yield block + "ffn_up.weight", (F, D)
        yield block + "ffn_down.weight", (D, F)
    yield "output_norm.weight", (D,)
    yield "output.weight", (facts.vocab, D)


def _add_vocabulary(writer: Any, size: int) -> None:
    """A vocabulary that loads: three control pieces, the bytes, and words without a meaning."""
    import gguf

    kinds = gguf.TokenType
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256
    more = size - len(pieces)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces + [f"word{n}" for n in range(more)])
    writer.add_token_scores([0.0] * len(pieces) + [-float(n) for n in range(more)])
    writer.add_token_types(types + [kinds.NORMAL] * more)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _load(model: str, threads: int, context: int) -> Any:
    from llama_cpp import Llama

    return Llama(
        model_path=model,
        n_ctx=context,
        n_batch=512,
        n_ubatch=512,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=0,
        verbose=False,
    )


def decode(
    model: str, threads: int, tokens: int, depth: int = 0, started: float | None = None
) -> dict[str, Any]:
    """Decode `tokens` tokens one by one behind `depth` others, without sampling.

    At least a few tokens always come before.
    """
    llama = _load(model, threads, depth + tokens + 64)
    ids = _random_ids(llama, max(depth, _WARM) + tokens)
    llama.eval(ids[:1])
    first = None if started is None else time.monotonic() - started
    for token in ids[1:_WARM]:
        llama.eval([token])
    if depth > _WARM:
        llama.eval(ids[_WARM:depth])
    meter = Meter()
    start = time.perf_counter()
    for token in ids[-tokens:]:
        llama.eval([token])
    seconds = time.perf_counter() - start
    return {
        "tokens_per_s": tokens / seconds,
        "joules_per_token": meter.per_token(tokens),
        "resident_bytes": _resident(),
        "first_token_s": first,
    }


def prefill(model: str, threads: int, lengths: list[int]) -> dict[str, Any]:
    """Read prompts of those lengths, the logits of the last position only."""
    llama = _load(model, threads, max(lengths) + 64)
    ids = _random_ids(llama, max(lengths))
    llama.eval(ids[: min(16, *lengths)])
    rates = {}
    for length in lengths:
        llama.reset()
        start = time.perf_counter()
        llama.eval(ids[:length])
        rates[str(length)] = length / (time.perf_counter() - start)
    return {"tokens_per_s": rates, "resident_bytes": _resident()}


def _random_ids(llama: Any, count: int) -> list[int]:
    picker = random.Random(0)
    return [picker.randrange(3, llama.n_vocab()) for _ in range(count)]


def _resident() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024

"""Subcommands that run a model here, without a broker: generate, bench, warmup."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

from edgespike.cli.reading import given_text

_ISA_HELP = "instructions: what the host has (native), AVX2 only, or any CPU (generic)"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands of this module."""
    formatter = argparse.RawDescriptionHelpFormatter
    generate = subparsers.add_parser(
        "generate",
        help="continue a text, streamed",
        description="Continue TEXT with the model and print the continuation as it is generated.",
        epilog="example:\n  edgespike generate 'Once upon a time' --model m.safetensors -n 32",
        formatter_class=formatter,
    )
    generate.add_argument("text", metavar="TEXT", help="the beginning; - reads standard input")
    _add_model(generate)
    generate.add_argument("-n", "--max-tokens", type=int, default=64, help="at most (default 64)")
    generate.add_argument("--temperature", type=float, default=0.0, help="0 (default) is greedy")
    generate.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling (default 1)")
    generate.add_argument("--seed", type=int, default=0, help="of the sampling (default 0)")
    generate.add_argument(
        "--ids", action="store_true", help="TEXT is token ids, and ids are printed: no tokenizer"
    )
    generate.add_argument(
        "--grounded", action="store_true", help="only numbers that stand in TEXT, by a mask"
    )
    generate.add_argument("--json", action="store_true", help="one JSON object with the timings")
    generate.set_defaults(run=_generate)

    bench = subparsers.add_parser(
        "bench",
        help="measure decode and prefill speed",
        description="Measure tokens per second, the bytes of weights that a token reads, and what\n"
        "share of this machine's memory bandwidth that is.",
        epilog="example:\n  edgespike synth big.safetensors --shape 0.8b\n"
        "  edgespike bench --model big.safetensors --threads 2",
        formatter_class=formatter,
    )
    _add_model(bench)
    bench.add_argument("--decode", type=_count, default=64, help="tokens to decode (default 64)")
    bench.add_argument(
        "--prefill", type=_count, default=512, help="tokens to prefill (default 512)"
    )
    bench.add_argument("--json", action="store_true", help="machine-readable")
    bench.set_defaults(run=_bench)

    warmup = subparsers.add_parser(
        "warmup",
        help="compile the kernels now, so that the daemon starts at once",
        description="Compile the kernels into the cache (the folder that NUMBA_CACHE_DIR or\n"
        "CACHE_DIRECTORY names, else ~/.cache/edgespike). Later starts load them in a second.",
        epilog="example:\n  edgespike warmup --isa avx2",
        formatter_class=formatter,
    )
    warmup.add_argument("--isa", default="native", help=_ISA_HELP)
    warmup.add_argument("--json", action="store_true", help="machine-readable")
    warmup.set_defaults(run=_warmup)


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000000")
    return value


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="container (default: the bundled model)")
    parser.add_argument("--threads", type=int, default=1, help="default 1")
    parser.add_argument("--isa", default="native", help=_ISA_HELP)
    parser.add_argument(
        "--kv",
        choices=("fp32", "int16", "int8"),
        help="precision of keys and values (default: what keeps the accuracy of the weights)",
    )


def _load(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    from edgespike.engine.model import load
    from edgespike.model.bundled import bundled_model

    path = Path(arguments.model) if arguments.model else bundled_model()
    return load(path, threads=arguments.threads, isa=arguments.isa, kv=arguments.kv)


def _generate(arguments: argparse.Namespace) -> int:
    from edgespike.errors import UsageError

    text = given_text(arguments.text)
    prompt: str | list[int] = text
    if arguments.ids:
        try:
            prompt = [int(word) for word in text.replace(",", " ").split()]
        except ValueError:
            raise UsageError("--ids needs whole numbers, such as '1 17 4'") from None
        if arguments.grounded:
            raise UsageError("--grounded needs text, not --ids")
    model = _load(arguments)
    constraint = None
    if arguments.grounded:
        from edgespike.grounding import Grounded, Grounds, Vocabulary

        constraint = Grounded(Vocabulary(model.tokenizer), Grounds([text]))
    start = time.perf_counter()
    first = None
    tokens: list[int] = []
    parts: list[str] = []
    finish = None
    stops = [] if arguments.ids or not model.has_tokenizer else [model.tokenizer.eos_id]
    for piece in model.generate(
        prompt,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        seed=arguments.seed,
        stop_tokens=stops,
        constraint=constraint,
    ):
        first = first or time.perf_counter() - start
        finish = piece.finish_reason
        if piece.token is not None:
            tokens.append(piece.token)
        shown = piece.text
        if arguments.ids:
            shown = "" if piece.token is None else f"{piece.token} "
        parts.append(shown)
        if not arguments.json:
            print(shown, end="", flush=True)
    total = time.perf_counter() - start
    if arguments.json:
        facts = {
            "text": "".join(parts),
            "tokens": tokens,
            "finish_reason": finish,
            "first_token_ms": round(1000 * (first or total), 3),
            "total_ms": round(1000 * total, 3),
        }
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print()
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from edgespike.bench.speed import measure

    model = _load(arguments)
    progress = Console(stderr=True)
    with progress.status("starting") as status:
        found = measure(
            model, decode=arguments.decode, prefill=arguments.prefill, report=status.update
        )
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found)))
        return 0
    rates = found.spike_rates
    table = Table(
        title=f"{model.container.path.name}: {found.precision}, {found.threads} thread(s)"
    )
    table.add_column("what")
    table.add_column("measured", justify="right")
    rows = [
        (f"decode, {found.decode_tokens} tokens", f"{found.decode_tokens_per_s:.1f} tokens/s"),
        (f"prefill, {found.prefill_tokens} tokens", f"{found.prefill_tokens_per_s:.1f} tokens/s"),
        ("weights read per token", f"{found.weight_bytes_per_token / 1e6:.1f} MB"),
        ("memory read bandwidth", f"{found.read_bandwidth_bytes_per_s / 1e9:.1f} GB/s"),
        ("share of it while decoding", f"{100 * found.bandwidth_share:.0f} %"),
        ("firing rate, encoder", f"{100 * rates['encoder']:.1f} %"),
        ("firing rates, layers", _span(rates["layers"])),
        ("firing rates, feed-forward", _span(rates["feed_forward"])),
        ("resident memory", f"{found.resident_bytes / 1e6:.0f} MB"),
    ]
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    return 0


def _span(rates: list[float]) -> str:
    return f"{100 * min(rates):.1f} to {100 * max(rates):.1f} %, last {100 * rates[-1]:.1f} %"


def _warmup(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from edgespike.engine.warmup import warm_up
    from edgespike.kernels.compiler import compiled

    def progress() -> Table:
        done, total = compiled()
        row = Table.grid(padding=1)
        row.add_row(
            f"compiling kernels for {arguments.isa}",
            ProgressBar(total, done, width=30),
            f"{done} of {total}" if done else "",
        )
        return row

    # Compiling is one call: the display looks by itself how far it is.
    with Live(console=Console(stderr=True), get_renderable=progress, transient=True):
        folder, seconds = warm_up(arguments.isa)
    if arguments.json:
        facts = {"isa": arguments.isa, "folder": str(folder), "seconds": round(seconds, 3)}
        print(json.dumps(facts))
    else:
        print(f"kernels for {arguments.isa} are ready in {folder} ({seconds:.1f} s)")
    return 0

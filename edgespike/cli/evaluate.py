"""Subcommands that judge a model: `eval qa`, `eval ppl`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgespike.engine.model import Model
    from edgespike.evaluate.qa import Score

_MAX_TEXT_BYTES = 64 << 20


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands of this module."""
    formatter = argparse.RawDescriptionHelpFormatter
    judge = subparsers.add_parser(
        "eval",
        help="measure how good a model is: questions about sensors, perplexity",
        description="Measure how good a model is.",
        epilog="examples:\n  edgespike eval qa\n  edgespike eval ppl notes.txt --json",
        formatter_class=formatter,
    )
    kinds = judge.add_subparsers(dest="kind", metavar="KIND", required=True)

    qa = kinds.add_parser(
        "qa",
        help="answers to questions about sensors, right word for word",
        description="Ask a held-out question set and count, per family, the answers that are\n"
        "right word for word, those with a number that no sensor gave, and those that say that\n"
        "the sensor doesn't exist.",
        epilog="example:\n  edgespike eval qa --limit 50 --wrong",
        formatter_class=formatter,
    )
    _add_model(qa)
    qa.add_argument("--set", metavar="FILE", help="JSON lines (default: the bundled test set)")
    qa.add_argument("--limit", type=_count, metavar="N", help="ask the first N questions only")
    qa.add_argument("--budget", type=_count, metavar="N", help="tokens a prompt may have")
    qa.add_argument("--wrong", action="store_true", help="show the answers that were not right")
    qa.set_defaults(run=_qa)

    ppl = kinds.add_parser(
        "ppl",
        help="perplexity and bits per byte of a text",
        description="Perplexity of the UTF-8 text FILE in windows of the training context that\n"
        "don't overlap, and bits per byte, which compares models with different tokenizers.",
        epilog="example:\n  edgespike eval ppl notes.txt --limit 10000",
        formatter_class=formatter,
    )
    ppl.add_argument("file", metavar="FILE")
    _add_model(ppl)
    ppl.add_argument("--context", type=_count, metavar="N", help="tokens of a window")
    ppl.add_argument("--limit", type=_count, metavar="N", help="use the first N tokens only")
    ppl.set_defaults(run=_ppl)


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000_000:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="container (default: the bundled model)")
    parser.add_argument("--threads", type=_count, default=1, help="default 1")
    parser.add_argument("--isa", default="native", help="native, avx2 or generic")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def _load(arguments: argparse.Namespace) -> Model:
    from edgespike.engine.model import load
    from edgespike.model.bundled import bundled_model

    path = Path(arguments.model) if arguments.model else bundled_model()
    return load(path, threads=arguments.threads, isa=arguments.isa)


def _qa(arguments: argparse.Namespace) -> int:
    from itertools import islice

    from rich.console import Console
    from rich.progress import Progress

    from edgespike.evaluate.qa import Answered, by_family, run, score
    from edgespike.evaluate.questions import bundled_questions, load_questions

    path = Path(arguments.set) if arguments.set else bundled_questions()
    questions = list(islice(load_questions(path), arguments.limit))
    model = _load(arguments)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking", total=len(questions))

        def on_answer(answered: Answered) -> None:
            progress.advance(task)
            if arguments.wrong and not answered.right:
                progress.console.print(_difference(answered), markup=False, highlight=False)

        answers = run(model, questions, budget=arguments.budget, on_answer=on_answer)
    families, total = by_family(answers), score(answers)
    if arguments.json:
        facts = {
            "model": str(model.container.path),
            "set": str(path),
            "total": _facts(total),
            "families": {name: _facts(found) for name, found in families.items()},
        }
        print(json.dumps(facts, ensure_ascii=False))
    else:
        _print_scores(f"{model.container.path.name} on {path.name}", families, total)
    return 0


def _difference(answered: Any) -> str:
    asked = answered.question
    return f"{asked.question}\n  right: {asked.answer}\n  said:  {answered.text}"


def _facts(found: Score) -> dict[str, float]:
    return {
        "questions": found.questions,
        "right": found.right,
        "accuracy": round(found.accuracy, 4),
        "unsupported_numbers": found.unsupported,
        "abstained": found.abstained,
        "seconds_per_answer": round(found.seconds_per_answer, 4),
    }


def _print_scores(title: str, families: dict[str, Score], total: Score) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("family")
    for heading in ("questions", "right", "%", "unsupported numbers", "says unknown", "ms/answer"):
        table.add_column(heading, justify="right")
    for name, found in (*families.items(), ("all", total)):
        if name == "all":
            table.add_section()
        table.add_row(
            name,
            str(found.questions),
            str(found.right),
            f"{100 * found.accuracy:.1f}",
            str(found.unsupported),
            str(found.abstained),
            f"{1000 * found.seconds_per_answer:.1f}",
        )
    Console().print(table)


def _read_text(path: Path) -> str:
    from edgespike.errors import DataError, MissingInputError

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise MissingInputError(f"{path}: can't read the text: {error.strerror}") from error
    if len(data) > _MAX_TEXT_BYTES:
        raise DataError(f"{path}: more than {_MAX_TEXT_BYTES >> 20} MB of text: cut it into parts")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error


def _ppl(arguments: argparse.Namespace) -> int:
    import dataclasses

    from rich.console import Console

    from edgespike.evaluate.ppl import perplexity

    text = _read_text(Path(arguments.file))
    model = _load(arguments)
    with Console(file=sys.stderr).status("reading") as status:
        found = perplexity(
            model,
            text,
            context=arguments.context,
            limit=arguments.limit,
            on_window=lambda done, total: status.update(f"window {done} of {total}"),
        )
    if arguments.json:
        print(json.dumps({"model": str(model.container.path), **dataclasses.asdict(found)}))
    else:
        print(
            f"perplexity {found.perplexity:.3f} per token, {found.bits_per_byte:.4f} bits per byte "
            f"({found.tokens} tokens, {found.bytes} bytes, "
            f"{found.windows} windows of {found.context})"
        )
    return 0

"""Subcommands that judge a model: `eval qa`, `eval ppl`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from edgespike.engine.model import Model
    from edgespike.evaluate.ppl import Perplexity
    from edgespike.evaluate.qa import Answered, Score
    from edgespike.evaluate.questions import Question

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
        help="answers to questions about sensors",
        description="Ask a question set and count, per family, the answers that are right, those\n"
        "that hold a number or name which the prompt doesn't, with the grounding enforced and\n"
        "reported, and those that say that no sensor can tell: where that is so, and where not.\n\n"
        "A set is a file of JSON lines, one scene each:\n"
        '  {"taken_at": 0, "channels": [{"name": "hall temperature", "text": "21.5",\n'
        '   "number": 21.5, "unit": "°C"}], "questions": [{"family": "value",\n'
        '   "question": "How warm is the hall?", "facts": {"must": ["21.5"]}}]}\n'
        'Right is the exact "answer", one of "accept": [...], or an answer with the "facts":\n'
        '{"must": ["21.5", ["open", "not closed"]], "must_not": [...]}, numbers by value;\n'
        'where no sensor can tell, "abstain": true. "follows": true goes on with a dialogue.',
        epilog="examples:\n  edgespike eval qa --limit 50 --wrong\n"
        "  edgespike eval qa --set others --checkpoint run/checkpoint.pt",
        formatter_class=formatter,
    )
    _add_model(qa)
    qa.add_argument(
        "--set",
        metavar="NAME|FILE",
        default="test",
        help="test (default): the bundled test set; others, everyday: by hand; or a file",
    )
    qa.add_argument("--limit", type=_count, metavar="N", help="ask the first N questions only")
    qa.add_argument("--budget", type=_count, metavar="N", help="tokens a prompt may have")
    qa.add_argument("--wrong", action="store_true", help="show the answers that were not right")
    qa.set_defaults(run=_qa)

    ppl = kinds.add_parser(
        "ppl",
        help="perplexity and bits per byte of a text",
        description="Perplexity of the UTF-8 text FILE in windows of the training context that\n"
        "don't overlap, and bits per byte, which compares models with different tokenizers.",
        epilog="examples:\n  edgespike eval ppl notes.txt --limit 10000\n"
        "  edgespike eval ppl notes.txt --model int8.safetensors --compare fp32.safetensors",
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
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--compare", metavar="FILE", help="another container, measured as well")
    other.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="what the model was made from, measured as well, in fp32",
    )
    parser.add_argument("--threads", type=_count, default=1, help="default 1")
    parser.add_argument("--isa", default="native", help="native, avx2 or generic")
    parser.add_argument("--json", action="store_true", help="machine-readable")


@contextmanager
def _models(arguments: argparse.Namespace) -> Iterator[dict[str, Model]]:
    """The model, and the one to compare it with, if there is one, by their files."""
    from edgespike.engine.model import load
    from edgespike.model.bundled import bundled_model

    path = Path(arguments.model) if arguments.model else bundled_model()
    model = load(path, threads=arguments.threads, isa=arguments.isa)
    if arguments.checkpoint:
        from edgespike.evaluate.counterpart import in_full_precision

        with in_full_precision(model, Path(arguments.checkpoint)) as twin:
            yield {str(path): model, arguments.checkpoint: twin}
    elif arguments.compare:
        other = load(arguments.compare, threads=arguments.threads, isa=arguments.isa)
        yield {str(path): model, arguments.compare: other}
    else:
        yield {str(path): model}


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _qa(arguments: argparse.Namespace) -> int:
    from itertools import islice

    from edgespike.errors import DataError
    from edgespike.evaluate.qa import by_family, run, score
    from edgespike.evaluate.questions import SETS, bundled_questions, load_questions

    given = arguments.set
    path = bundled_questions(given) if given in SETS else Path(given)
    questions = list(islice(load_questions(path), arguments.limit))
    if not questions:
        raise DataError(f"{path}: holds no questions")
    found: list[dict[str, Any]] = []
    with _models(arguments) as models, _progress() as progress:
        for name, model in models.items():
            precision = model.container.precision
            task = progress.add_task(f"asking, {precision}", total=len(questions))
            answers: list[Answered] = []
            for answered in run(model, questions, budget=arguments.budget):
                answers.append(answered)
                progress.advance(task)
                if arguments.wrong and not answered.right:
                    progress.console.print(_wrong(answered), markup=False, highlight=False)
            families = {family: _facts(s) for family, s in by_family(answers).items()}
            found.append(
                {
                    "model": name,
                    "precision": precision,
                    "set": str(path),
                    "measures": _measures(questions),
                    "total": _facts(score(answers)),
                    "families": families,
                }
            )
    _print_found(arguments, found, _print_scores, _qa_difference)
    return 0


def _print_found(
    arguments: argparse.Namespace,
    found: list[dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    difference: Callable[[dict[str, Any], dict[str, Any]], dict[str, float]],
) -> None:
    """The first is the model's; a second is of the one that it is compared with."""
    facts = dict(found[0])
    if len(found) == 2:
        facts |= {"compared_with": found[1], "difference": difference(*found)}
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    for each in found:
        show(each)
    if len(found) == 2:
        parts = ", ".join(f"{name} {value:+.6g}" for name, value in facts["difference"].items())
        print(f"{found[0]['precision']} against {found[1]['precision']}: {parts}")


def _measures(questions: list[Question]) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(question.expected.measure for question in questions))


def _wrong(answered: Answered) -> str:
    expected = answered.question.expected
    match expected.measure:
        case "facts" | "abstain":
            facts = ["/".join(group) for group in expected.must]
            facts += [f"not {text}" for text in expected.must_not]
            facts += ["that no sensor can tell"] if expected.measure == "abstain" else []
            right = ", ".join(facts)
        case "answer" | "accept":
            right = " / ".join(expected.texts)
    return f"{answered.question.question}\n  right: {right}\n  said:  {answered.enforced.text}"


def _facts(found: Score) -> dict[str, Any]:
    return {
        "questions": found.questions,
        "right": found.right,
        "accuracy": round(found.accuracy, 4),
        "unsupported_numbers": found.unsupported,
        "report": {
            "right": found.free_right,
            "accuracy": round(found.free_accuracy, 4),
            "unsupported_numbers": found.free_unsupported,
        },
        "unknown": {
            "questions": found.unknown,
            "says_so": found.admitted,
            "wrongly_says_so": found.wrongly_unknown,
        },
        "seconds_per_answer": round(found.seconds_per_answer, 4),
    }


_MEASURES = {
    "answer": "right is the exact text",
    "accept": "right is one of several texts",
    "facts": "right has all facts that are asked for",
    "abstain": "right says that no sensor can tell",
}


def _print_scores(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    model, asked = Path(facts["model"]).name, Path(facts["set"]).name
    table = Table(padding=(0, 0), title=f"{model} ({facts['precision']}) on {asked}")
    table.add_column("family", no_wrap=True)
    for heading in (
        "asked", "enforce\nright", "\n%", "made\nup", "report\nright", "\n%",
        "made\nup", "says\nunknown", "wrongly\nso", "ms",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for name, found in (*facts["families"].items(), ("all", facts["total"])):
        if name == "all":
            table.add_section()
        modes = [
            text
            for mode in (found, found["report"])
            for text in (
                str(mode["right"]),
                f"{100 * mode['accuracy']:.1f}",
                str(mode["unsupported_numbers"]),
            )
        ]
        unknown = found["unknown"]
        table.add_row(
            name,
            str(found["questions"]),
            *modes,
            f"{unknown['says_so']}/{unknown['questions']}" if unknown["questions"] else "",
            str(unknown["wrongly_says_so"]),
            f"{1000 * found['seconds_per_answer']:.0f}",
        )
    Console().print(table)
    for measure, count in facts["measures"].items():
        print(f"{count} questions: {_MEASURES[measure]}")


def _qa_difference(own: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    accuracy, compared = own["total"]["accuracy"], other["total"]["accuracy"]
    return {"accuracy_points": round(100 * (accuracy - compared), 2)}


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

    text = _read_text(Path(arguments.file))
    found: list[dict[str, Any]] = []
    with _models(arguments) as models, _progress() as progress:
        for name, model in models.items():
            measured = dataclasses.asdict(_perplexity(model, text, arguments, progress))
            found.append({"model": name, "precision": model.container.precision, **measured})
    _print_found(arguments, found, _print_perplexity, _ppl_difference)
    return 0


def _perplexity(
    model: Model, text: str, arguments: argparse.Namespace, progress: Progress
) -> Perplexity:
    from edgespike.evaluate.ppl import perplexity

    task = progress.add_task(f"reading, {model.container.precision}", total=None)
    return perplexity(
        model,
        text,
        context=arguments.context,
        limit=arguments.limit,
        on_window=lambda done, total: progress.update(task, completed=done, total=total),
    )


def _print_perplexity(found: dict[str, Any]) -> None:
    print(
        f"{Path(found['model']).name} ({found['precision']}): "
        f"perplexity {found['perplexity']:.3f} per token, {found['bits_per_byte']:.4f} bits per "
        f"byte ({found['tokens']} tokens, {found['bytes']} bytes, "
        f"{found['windows']} windows of {found['context']})"
    )


def _ppl_difference(own: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    return {
        "perplexity_percent": round(100 * (own["perplexity"] / other["perplexity"] - 1), 4),
        "bits_per_byte": round(own["bits_per_byte"] - other["bits_per_byte"], 6),
    }

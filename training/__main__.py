"""`python -m training`: train, resume, measure and export a model of the family."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import fields
from pathlib import Path

from edgespike.errors import EdgespikeError
from training.recipe import SIZES, Recipe

EXAMPLES = """\
examples:
  python -m training train runs/first --minutes 70     train, or resume what is in runs/first
  python -m training export runs/first                 write the bundled model and its record
  python -m training compare runs/compare              what spiking costs, by size and kind
  python -m training questions --count 400             write the held-out question set
  python -m training associate                         learn which words mean which sensors
  python -m training intents                           learn which wording asks for what
  python -m training sample --seed 3                   show what the model is trained on

Training stops at the end of its plan or on Ctrl-C, saves, and resumes when it is called again. The
plan is a number of --steps or of --minutes of training time; the learning rate follows it.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train or resume a run, then export it with --export")
    train.add_argument("run", type=Path, help="directory of the run")
    train.add_argument(
        "--start", type=Path, help="what a new run begins with: official checkpoint or container"
    )
    train.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    train.add_argument("--device", default="cpu", help="cpu or cuda")
    train.add_argument("--size", choices=SIZES, help="shape of a new model, instead of its parts")
    train.add_argument("--compile", action="store_true",
                       help="fuse loops; needs a C++ compiler, pays after a minute")  # fmt: skip
    train.add_argument("--export", action="store_true", help="export when the plan is done")
    for field in fields(Recipe):
        kind = type(field.default)
        train.add_argument(f"--{field.name}", type=kind, default=field.default, metavar="N",
                           help=f"default {field.default}")  # fmt: skip
    export = commands.add_parser("export", help="write the model of a run as a container")
    export.add_argument("run", type=Path)
    export.add_argument("--target", type=Path, help="default: the bundled model")
    export.add_argument("--blend", type=Path,
                        help="checkpoint or container to average the weights with")  # fmt: skip
    export.add_argument("--share", type=float, default=0.7, help="of the run's (default 0.7)")
    compared = commands.add_parser("compare", help="train sizes, kinds and variants, and compare")
    compared.add_argument("directory", type=Path, help="where their runs are")
    compared.add_argument("--steps", type=int, default=1500, help="of each (default 1500)")
    compared.add_argument("--batch", type=int, default=10, help="dialogues a step (default 10)")
    compared.add_argument("--only", nargs="+", default=(), metavar="NAME", help="some of them")
    compared.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    compared.add_argument("--compile", action="store_true", help="as for train")
    questions = commands.add_parser("questions", help="write a held-out question set as JSON lines")
    questions.add_argument("--target", type=Path, help="default: the bundled set")
    questions.add_argument("--split", choices=("dev", "test"), default="test")
    questions.add_argument("--count", type=int, default=400)
    questions.add_argument("--seed", type=int, default=2024)
    associated = commands.add_parser("associate", help="learn which words mean which sensors")
    associated.add_argument("--target", type=Path, help="default: that of the package")
    associated.add_argument("--count", type=int, default=30000, help="questions (default 30000)")
    associated.add_argument("--rounds", type=int, default=8, help="over them (default 8)")
    associated.add_argument("--seed", type=int, default=1)
    intents = commands.add_parser("intents", help="learn which wording asks for what")
    intents.add_argument("--target", type=Path, help="default: that of the package")
    intents.add_argument("--count", type=int, default=360000, help="questions (default 360000)")
    intents.add_argument("--rounds", type=int, default=6, help="over them (default 6)")
    intents.add_argument("--least", type=int, default=5, metavar="N",
                         help="leave out what fewer questions have (default 5)")  # fmt: skip
    intents.add_argument("--processes", type=int, default=2, help="to make them (default 2)")
    intents.add_argument("--seed", type=int, default=1)
    sample = commands.add_parser("sample", help="print a few dialogues")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--count", type=int, default=3)
    return parser


def _train(args: argparse.Namespace) -> None:
    # A step is never cut in two: a signal asks the loop to stop after it. Both are set because a
    # background job is started with SIGINT ignored.
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: asked.append(number))
    import torch

    from training.train import open_run, train

    torch.set_num_threads(args.threads)
    chosen = {field.name: getattr(args, field.name) for field in fields(Recipe)}
    recipe = Recipe(**{**chosen, **(SIZES[args.size] if args.size else {})})
    run = open_run(args.run, recipe, start=args.start, device=args.device)
    if args.compile:
        for block in run.model.blocks:
            block.compile()
    train(run, lambda line: print(line, flush=True), stop=lambda: bool(asked))
    if args.export and not asked:
        from training.export import export

        export(args.run)


def _compare(args: argparse.Namespace) -> None:
    import torch

    from training.compare import compare, table

    torch.set_num_threads(args.threads)
    found = compare(
        args.directory,
        lambda line: print(line, flush=True),
        steps=args.steps,
        batch=args.batch,
        only=args.only,
        fuse=args.compile,
    )
    print(table(found))


def main() -> int:
    args = _parser().parse_args()
    try:
        if args.command == "train":
            _train(args)
        elif args.command == "export":
            from training.export import export

            export(args.run, args.target, blend=args.blend, share=args.share)
        elif args.command == "compare":
            _compare(args)
        elif args.command == "questions":
            from training.questions import write_questions

            write_questions(args.target, count=args.count, seed=args.seed, split=args.split)
        elif args.command == "associate":
            from training.associate import TARGET, associate

            associate(args.count, rounds=args.rounds, seed=args.seed, target=args.target or TARGET)
        elif args.command == "intents":
            from training.intents import TARGET, learn_intents

            learn_intents(
                args.count,
                rounds=args.rounds,
                seed=args.seed,
                least=args.least,
                processes=args.processes,
                target=args.target or TARGET,
            )
        else:
            from training.dialogues import show

            for line in show(args.seed, args.count):
                print(line)
    except EdgespikeError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How the odds of `prompting/intent.py` are learned, and how good those are that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch: pip install edgespike[train]")

from edgespike.prompting.intent import KINDS, learned_intents
from edgespike.prompting.relevance import Relevance
from training.intents import Example, accuracy, examples, learn, many_examples, words_of, write


def test_every_statement_is_of_a_known_kind() -> None:
    for each in examples("dev", 60, "kinds"):
        assert each.right <= each.offered <= set(KINDS)


def _example(kind: str, *words: str) -> Example:
    return Example(Relevance(words=words), frozenset(("age", "reading")), frozenset((kind,)))


def test_it_learns_what_it_is_shown(tmp_path: Path) -> None:
    shown = [_example("age", "when", "was", "#", "read"), _example("reading", "how", "is", "#")]
    intents = learn(shown * 150, rounds=30, seed=1, least=2)
    assert accuracy(intents, shown) == 1.0
    assert accuracy(intents, [_example("age", "when"), _example("reading", "how")]) == 1.0
    assert accuracy(intents, [_example("reading", "when"), _example("age", "how")]) == 0.0
    assert words_of([*shown, _example("age", "~once")], 1) == {
        "when", "was", "read", "how", "is", "once",
    }  # fmt: skip
    write(tmp_path / "intents.npz", intents)
    with np.load(tmp_path / "intents.npz", allow_pickle=False) as stored:
        assert (stored["keys"] == intents.keys).all()
        assert (stored["weights"] == intents.weights).all()
        assert float(stored["scale"]) == intents.scale


def test_what_ships_tells_most_of_what_it_was_never_shown() -> None:
    assert 0.85 < accuracy(learned_intents(), examples("dev", 400, "shipped")) < 1.0


def test_examples_are_the_same_however_many_make_them() -> None:
    one, two = (many_examples("dev", 30, 7, processes) for processes in (1, 2))
    assert [(e.found.words, e.offered, e.right) for e in one] == [
        (e.found.words, e.offered, e.right) for e in two
    ]

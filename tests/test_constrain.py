"""Text is held back while the answer may not end, and lost when it ends there all the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers_for_tests import small_tokenizer

from edgespike.engine.constrain import Transcript
from edgespike.tokenizer import Tokenizer


class Unsettled:
    """An answer that may end after tokens of `ends` alone."""

    def __init__(self, ends: set[int]) -> None:
        self.ends = ends
        self.settled = True

    def allows(self, token: int) -> bool:
        return True

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits

    def push(self, token: int) -> None:
        self.settled = token in self.ends


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(small_tokenizer())


def test_text_waits_until_it_is_settled(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("91.2 °C")
    texts = [tokenizer.decode([i]) for i in ids]
    text = Transcript(tokenizer.stream(), Unsettled({ids[-1]}))
    assert [text.push(i) for i in ids] == [*[""] * (len(ids) - 1), "91.2 °C"], texts
    assert text.flush() == ""


def test_text_that_is_never_settled_is_lost(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("rising 9")
    text = Transcript(tokenizer.stream(), Unsettled(set(ids) - {ids[-1]}))
    assert "".join(text.push(i) for i in ids) + text.flush() == "rising "


def test_without_a_constraint_nothing_waits(tokenizer: Tokenizer) -> None:
    stream = Transcript(tokenizer.stream())
    ids = tokenizer.encode("is the pump on? °")
    assert "".join(stream.push(i) for i in ids[:-1]) == "is the pump on? "
    assert stream.flush() == "\N{REPLACEMENT CHARACTER}"
    assert (Transcript(None).push(1), Transcript(None).flush()) == ("", "")

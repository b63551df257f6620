"""Drafted tokens: the text is that of plain decoding, the session too, with fewer steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_models import random_weights, write_model
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_engine import SHAPES

import edgespike
from edgespike.engine.lookup import Lookup
from edgespike.engine.model import Model
from edgespike.errors import UsageError
from edgespike.model.arrays import LOOKAHEAD


@pytest.fixture(scope="module", params=["odd", "no-anchors", "only-itself", "wide"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that repeats itself: few tokens to choose from, so that drafts are often right."""
    config = replace(SHAPES[request.param], active_vocab=5)
    path = tmp_path_factory.mktemp("lookup") / "m.safetensors"
    return edgespike.load(write_model(path, config, random_weights(config), "int8"), threads=2)


PROMPT = [int(t) for t in np.random.default_rng(3).integers(0, 5, 50)]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_text_and_session_are_those_of_plain_decoding(model: Model, temperature: float) -> None:
    ends = []
    for lookup in (False, True):
        session = model.session()
        pieces = model.generate(
            PROMPT, max_tokens=80, temperature=temperature, seed=4, session=session, lookup=lookup
        )
        tokens = [piece.token for piece in pieces]
        state = session.snapshot()
        logits = session.advance([1, 2], all_logits=True)
        ends.append((tokens, state.position, state.state.spikes.tolist(), logits.tobytes()))
    assert ends[0] == ends[1]


class NoThreeInARow:
    """Forbids a token that already came twice, and everything after `limit` tokens."""

    settled = True
    forced = None
    weighs = False

    def __init__(self, limit: int) -> None:
        self.tokens: list[int] = []
        self.limit = limit

    def allows(self, token: int) -> bool:
        return len(self.tokens) < self.limit and self.tokens[-2:] != [token, token]

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        allowed = [self.allows(token) for token in range(logits.size)]
        return np.where(allowed, logits, np.float32(-np.inf))

    def push(self, token: int) -> None:
        self.tokens.append(token)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_constraint_decides_the_same_with_drafts_and_without(
    model: Model, temperature: float
) -> None:
    ends = []
    for lookup in (False, True):
        constraint = NoThreeInARow(60)
        pieces = list(
            model.generate(
                PROMPT, max_tokens=80, temperature=temperature, lookup=lookup, constraint=constraint
            )
        )
        tokens = [piece.token for piece in pieces]
        assert tokens == [*constraint.tokens, None]
        ends.append(tokens)
    assert ends[0] == ends[1]
    assert len(tokens) == 61, "nothing may come after 60 tokens: the answer stops"
    assert pieces[-1].finish_reason == "stop"
    triples = zip(tokens, tokens[1:], tokens[2:], strict=False)
    assert not any(first == second == third for first, second, third in triples)


def test_the_mask_takes_only_what_is_forbidden(model: Model) -> None:
    free = [p.token for p in model.generate(PROMPT, max_tokens=40)]
    constraint = NoThreeInARow(99)
    constraint.allows = lambda token: True  # type: ignore[method-assign]
    assert [p.token for p in model.generate(PROMPT, max_tokens=40, constraint=constraint)] == free


def test_an_answer_that_is_broken_off_leaves_the_session_as_plain_decoding_does(
    model: Model,
) -> None:
    """Stopped by a token, an interrupt or the reader, in the middle of a draft or not."""
    for count in range(1, 12):
        ends = []
        for lookup in (False, True):
            session = model.session()
            pieces = model.generate(PROMPT, max_tokens=80, session=session, lookup=lookup)
            tokens = [next(pieces).token for _ in range(count)]
            pieces.close()
            ends.append((tokens, session.position, session.advance([1]).tobytes()))
        assert ends[0] == ends[1]


def test_drafts_save_steps_where_the_text_repeats(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    step = model.step
    monkeypatch.setattr(model, "step", lambda *a, **k: (steps.append(1), step(*a, **k)))
    counts = []
    for lookup in (False, True):
        steps.clear()
        list(model.generate(PROMPT, max_tokens=200, lookup=lookup))
        counts.append(len(steps))
    assert counts[1] < counts[0]


def test_any_part_of_a_draft_can_be_taken_back(model: Model) -> None:
    for kept in range(1, LOOKAHEAD + 2):
        plain = model.session()
        plain.advance(PROMPT)
        plain.advance(PROMPT[:kept])
        drafted = model.session()
        drafted.advance(PROMPT)
        drafted.advance([*PROMPT[:kept], *[4] * (LOOKAHEAD + 1 - kept)])
        drafted.take_back(LOOKAHEAD + 1 - kept)
        assert drafted.position == plain.position
        assert drafted.spike_rates == plain.spike_rates
        after = [s.advance(PROMPT, all_logits=True).tobytes() for s in (plain, drafted)]
        assert after[0] == after[1]


def test_only_the_latest_few_tokens_can_be_taken_back(model: Model) -> None:
    session = model.session()
    session.advance(PROMPT)
    with pytest.raises(UsageError, match="take back"):
        session.take_back(1)
    session.advance([1, 2, 3])
    for count in (-1, 3):
        with pytest.raises(UsageError, match=f"{count} tokens of the 3"):
            session.take_back(count)
    session.take_back(1)
    session.advance([2, 3])
    session.restore(session.snapshot())
    for size in (0, 1, LOOKAHEAD + 2):
        if size:
            session.advance([1] * size)
        with pytest.raises(UsageError, match="take back"):
            session.take_back(1)


def test_a_lookup_proposes_what_followed_the_same_tokens_last() -> None:
    lookup = Lookup([1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 8, 0])
    assert lookup.propose(7) == []
    for token in (1, 2, 3):
        lookup.add(token)
    assert lookup.propose(2) == [5, 6]
    assert lookup.propose(7)[:3] == [5, 6, 7]
    assert lookup.propose(0) == []


def test_drafts_pause_longer_and_longer_where_nothing_can_be_copied() -> None:
    """At most one wasted draft in 64 tokens in the long run, and of three tokens."""
    lookup = Lookup([1, 2, 3] * 10)
    drafts = []
    for _ in range(1000):
        draft = lookup.propose(7)
        drafts.append(len(draft))
        if draft:
            lookup.learn(len(draft), 0)
    assert sum(drafts[500:]) <= 3 * (500 / 64 + 1)
    assert any(drafts[500:])


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 9))
def test_a_proposal_did_follow_the_last_tokens(tokens: list[int], limit: int) -> None:
    draft = Lookup(tokens).propose(limit)
    assert len(draft) <= limit
    if draft:
        places = [i for i in range(len(tokens) - 1) if tokens[i] == tokens[-1]]
        assert any(tokens[i + 1 : i + 1 + len(draft)] == draft for i in places)

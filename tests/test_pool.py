"""Sessions in one step: each gets the bits that it gets alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_models import random_weights, write_model
from test_engine import SHAPES

import edgespike
from edgespike.engine.model import STEP_POSITIONS, Model
from edgespike.engine.session import Session
from edgespike.errors import UnavailableError, UsageError
from edgespike.model.arrays import LOOKAHEAD
from edgespike.model.config import PRECISIONS, Precision


def model_of(shape: str, precision: Precision, folder: Path, threads: int = 1) -> Model:
    config = SHAPES[shape]
    path = folder / f"{shape}-{precision}"
    if not path.exists():
        write_model(path, config, random_weights(config), precision)
    return edgespike.load(path, threads=threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of("odd", "int8", tmp_path_factory.mktemp("pool"), threads=2)


def some(model: Model, count: int, seed: int = 0) -> list[int]:
    ids = np.random.default_rng(seed).integers(0, model.config.active_vocab, count)
    return [int(token) for token in ids]


def same_from_here(model: Model, session: Session, *tokens: list[int]) -> bool:
    """Whether a session goes on as one that read those tokens does."""
    alone = model.session()
    for part in tokens:
        alone.advance(part)
    ahead = some(model, 20, seed=99)
    first, second = (s.fork().advance(ahead, all_logits=True) for s in (alone, session))
    return (
        first.tobytes() == second.tobytes()
        and alone.position == session.position
        and alone.spike_rates == session.spike_rates
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", ["odd", "only-itself", "no-attention-log-prior", "wide"])
def test_together_is_alone_to_the_last_bit(
    shape: str, precision: Precision, threads: int, tmp_path: Path
) -> None:
    """Rounds of uneven sizes: some sessions read a prompt while others decode, or rest."""
    model = model_of(shape, precision, tmp_path, threads)
    pool = model.pool(4)
    sessions = [pool.session() for _ in range(4)]
    alone = [model_of(shape, precision, tmp_path).session() for _ in range(4)]
    rounds = [
        (1, 1, 1, 1),
        (70, 1, 0, 3),
        (1, 8, 33, 0),
        (2, 9, 1, 31),
        (5, 5, 5, 5),
        (0, 1, 40, 1),
    ]
    for turn, sizes in enumerate(rounds):
        texts = [some(model, size, seed=10 * turn + n) for n, size in enumerate(sizes)]
        chosen = [n for n in range(4) if texts[n]]
        every = [n % 2 == turn % 2 for n in chosen]
        got = model.advance_together([(sessions[n], texts[n]) for n in chosen], every)
        expected = [
            alone[n].advance(texts[n], all_logits=all_)
            for n, all_ in zip(chosen, every, strict=True)
        ]
        assert [g.shape for g in got] == [e.shape for e in expected]
        assert [g.tobytes() for g in got] == [e.tobytes() for e in expected]
    assert [s.position for s in sessions] == [s.position for s in alone]
    assert [s.spike_rates for s in sessions] == [s.spike_rates for s in alone]


def test_each_session_takes_back_its_own_draft(model: Model) -> None:
    """Drafts of all lengths beside a prompt, also when another step came in between."""
    for seed in range(LOOKAHEAD):
        pool = model.pool(3)
        sessions = [pool.session() for _ in range(3)]
        starts = [some(model, 30 + n, seed=n) for n in range(3)]
        model.advance_together(list(zip(sessions, starts, strict=True)))
        drafts = [
            some(model, LOOKAHEAD + 1, seed=seed + 5),
            some(model, 50, seed=seed),
            some(model, 2 + seed % LOOKAHEAD, seed=seed + 6),
        ]
        model.advance_together(list(zip(sessions, drafts, strict=True)), [True, False, True])
        model.session().advance(some(model, 5))
        sessions[1].advance(drafts[1][:3])
        kept = [seed + 1, 1 + seed % (len(drafts[2]) - 1)]
        sessions[0].take_back(LOOKAHEAD + 1 - kept[0])
        sessions[2].take_back(len(drafts[2]) - kept[1])
        assert same_from_here(model, sessions[0], starts[0], drafts[0][: kept[0]])
        assert same_from_here(model, sessions[1], starts[1], drafts[1], drafts[1][:3])
        assert same_from_here(model, sessions[2], starts[2], drafts[2][: kept[1]])


def test_sessions_share_steps(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    step = model.step
    monkeypatch.setattr(model, "step", lambda *a: (sizes.append(a[2].tokens.size), step(*a)))
    pool = model.pool(3)
    model.advance_together([(pool.session(), some(model, size)) for size in (40, 1, 2)])
    assert sizes == [STEP_POSITIONS, 43 - STEP_POSITIONS]
    assert model.advance_together([]) == []


def test_generations_in_turns_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two answers, a token of each in turn, both with drafts that are taken back."""
    config = replace(SHAPES["odd"], active_vocab=5)
    path = write_model(tmp_path / "m", config, random_weights(config), "int8")
    model = edgespike.load(path)
    prompts = [some(model, 40, seed=n) for n in range(2)]
    plain = [[p.token for p in model.generate(ids, max_tokens=60, lookup=False)] for ids in prompts]
    pool = model.pool(2)
    streams = [model.generate(ids, max_tokens=60, session=pool.session()) for ids in prompts]
    together = list(zip(*streams, strict=True))
    assert [[pair[n].token for pair in together] for n in range(2)] == plain


def test_a_full_pool_says_so_and_a_closed_session_makes_room(model: Model) -> None:
    pool = model.pool(2)
    first, second = pool.session(), pool.session()
    first.advance(some(model, 30))
    second.advance(some(model, 12))
    with pytest.raises(UnavailableError, match="all 2 sessions"):
        pool.session()
    with pytest.raises(UnavailableError, match="all 2 sessions"):
        second.fork(pool)
    first.close()
    first.close()
    third = pool.session()
    assert third.position == 0
    third.advance(some(model, 7, seed=3))
    assert same_from_here(model, third, some(model, 7, seed=3))
    assert same_from_here(model, second, some(model, 12))
    for use in (
        first.snapshot,
        lambda: first.advance([1]),
        lambda: first.restore(third.snapshot()),
    ):
        with pytest.raises(UsageError, match="closed"):
            use()


def test_a_closed_session_leaves_nothing_behind(model: Model) -> None:
    pool = model.pool(1)
    session = pool.session()
    session.advance(some(model, 30))
    session.close()
    assert not any(array.any() for array in pool.session().snapshot().state)


def test_a_pooled_session_is_kept_forked_and_saved_like_any_other(
    model: Model, tmp_path: Path
) -> None:
    pool = model.pool(3)
    first, second = pool.session(), pool.session()
    tokens = some(model, 25)
    model.advance_together([(first, tokens), (second, tokens[:9])])
    first.save(tmp_path / "s")
    snapshot = first.snapshot()
    fork = first.fork(pool)
    first.advance([1] * 11)
    assert same_from_here(model, fork, tokens)
    second.load(tmp_path / "s")
    assert same_from_here(model, second, tokens)
    first.restore(snapshot)
    assert same_from_here(model, first, tokens)
    own = model.session()
    own.restore(snapshot)
    assert same_from_here(model, own, tokens)
    assert first.nbytes == own.nbytes


def test_work_that_can_not_be_done_together_changes_nothing(model: Model, tmp_path: Path) -> None:
    pool = model.pool(2)
    first, second = pool.session(), pool.session()
    stranger = model.session()
    for work, problem in [
        ([(first, [1]), (first, [2])], "twice"),
        ([(first, [1]), (stranger, [2])], "one pool"),
        ([(first, [1]), (second, [])], "at least one token"),
        ([(first, [1]), (second, [-1])], "outside the vocabulary"),
    ]:
        with pytest.raises(UsageError, match=problem):
            model.advance_together(work)
    assert first.position == second.position == stranger.position == 0
    assert same_from_here(model, first)
    with pytest.raises(UsageError, match="another model"):
        first.fork(model_of("odd", "fp32", tmp_path).pool(1))
    for size in (0, 257):
        with pytest.raises(UsageError, match="1 to 256"):
            model.pool(size)


def test_a_session_returns_to_its_mark_and_forks_from_it(model: Model) -> None:
    first, then, later = some(model, 3), some(model, 4, seed=1), some(model, 3, seed=2)
    session = model.session()
    session.advance(first)
    mark = session.mark()
    session.advance(then)
    assert same_from_here(model, session.fork(mark=mark), first)
    assert same_from_here(model, session, first + then)
    session.rewind(mark)
    session.advance(later)
    assert same_from_here(model, session, first + later)
    session.rewind(mark)
    assert same_from_here(model, session, first)


def test_a_mark_is_good_while_there_is_room(model: Model) -> None:
    first = some(model, 3)
    session = model.session()
    session.advance(first)
    mark = session.mark()
    assert session.room > 0
    session.advance(some(model, session.room, seed=1))
    assert session.room == 0
    assert same_from_here(model, session.fork(mark=mark), first)
    session.advance([1])
    with pytest.raises(UsageError, match="overwritten"):
        session.rewind(mark)
    with pytest.raises(UsageError, match="overwritten"):
        session.fork(mark=mark)
    fresh = model.session()
    with pytest.raises(UsageError, match="overwritten"):
        fresh.rewind(mark)

"""Sessions: a state that can be kept, copied and continued, and text generated piece by piece."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from engine_models import random_weights, write_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers_for_tests import small_tokenizer

import edgespike
from edgespike.engine.model import STEP_POSITIONS, Model
from edgespike.engine.sample import Sampler, Sampling
from edgespike.errors import DataError, MissingInputError, UnavailableError, UsageError
from edgespike.model.config import ModelConfig
from edgespike.tokenizer import Tokenizer

VOCAB = Tokenizer(small_tokenizer()).size
CONFIG = ModelConfig(
    vocab_size=VOCAB + 20, embed_dim=48, n_layers=2, n_heads=3, head_dim=16, intermediate_dim=80,
    window=9, anchors=2, active_vocab=VOCAB,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("session") / "m.safetensors"
    write_model(path, CONFIG, random_weights(CONFIG), "int8", small_tokenizer())
    return edgespike.load(path)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("session") / "other.safetensors"
    return edgespike.load(write_model(path, CONFIG, random_weights(CONFIG, seed=1), "int8"))


def after(model: Model, tokens: list[int]) -> bytes:
    """Logits of the next tokens on an undisturbed session."""
    return model.session().advance(tokens, all_logits=True)[-5:].tobytes()


TOKENS = [int(t) for t in np.random.default_rng(0).integers(0, VOCAB, 35)]


def test_a_restored_session_continues_with_the_same_bits(model: Model) -> None:
    session = model.session()
    session.advance(TOKENS[:30])
    snapshot = session.snapshot()
    session.advance([7] * 20)
    session.restore(snapshot)
    assert session.position == 30
    assert session.advance(TOKENS[30:], all_logits=True).tobytes() == after(model, TOKENS)


def test_a_fork_and_its_origin_do_not_disturb_each_other(model: Model) -> None:
    session = model.session()
    session.advance(TOKENS[:30])
    fork = session.fork()
    fork.advance([9] * 20)
    assert session.advance(TOKENS[30:], all_logits=True).tobytes() == after(model, TOKENS)
    assert fork.position == 50


def test_a_saved_session_continues_with_the_same_bits(model: Model, tmp_path: Path) -> None:
    session = model.session()
    session.advance(TOKENS[:30])
    session.save(tmp_path / "s")
    loaded = model.session()
    loaded.load(tmp_path / "s")
    assert loaded.spike_rates == session.spike_rates
    assert loaded.advance(TOKENS[30:], all_logits=True).tobytes() == after(model, TOKENS)
    assert os.listdir(tmp_path) == ["s"]


def test_the_state_does_not_grow(model: Model) -> None:
    session = model.session()
    before = session.nbytes
    session.advance(TOKENS * 5)
    assert session.nbytes == before


def test_a_session_of_another_model_is_refused(
    model: Model, other_model: Model, tmp_path: Path
) -> None:
    session = model.session()
    session.advance(TOKENS)
    session.save(tmp_path / "s")
    with pytest.raises(DataError, match="another model"):
        other_model.session().load(tmp_path / "s")
    with pytest.raises(UsageError, match="another model"):
        other_model.session().restore(session.snapshot())


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "s"
    session = model.session()
    session.advance(TOKENS)
    session.save(path)
    return path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_session_file_is_found(
    model: Model, saved: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    header = 8 + int.from_bytes(saved[:8], "little")
    at = data.draw(st.integers(0, header - 1) | st.integers(0, len(saved) - 1))
    if data.draw(st.booleans()):
        damaged = saved[:at]
    else:
        flip = data.draw(st.integers(1, 255))
        damaged = saved[:at] + bytes([saved[at] ^ flip]) + saved[at + 1 :]
    path = tmp_path_factory.mktemp("damaged") / "s"
    path.write_bytes(damaged)
    session = model.session()
    with pytest.raises(DataError, match=re.escape(str(path))):
        session.load(path)
    assert session.position == 0


def test_a_missing_session_file_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        model.session().load(tmp_path / "nowhere")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A disk that is full after `size` bytes."""
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_the_session_file_that_was_there(model: Model, tmp_path: Path) -> None:
    session = model.session()
    session.advance(TOKENS)
    session.save(tmp_path / "s")
    before = (tmp_path / "s").read_bytes()
    with file_size_limit(1000), pytest.raises(UnavailableError, match="can't write"):
        session.save(tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == before
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.parametrize("tokens", [[], [[1, 2]], [-1], [0, VOCAB + 20]])
def test_wrong_tokens_are_refused_and_change_nothing(model: Model, tokens: list[int]) -> None:
    session = model.session()
    with pytest.raises(UsageError):
        session.advance(tokens)
    assert session.position == 0
    assert session.advance(TOKENS, all_logits=True)[-5:].tobytes() == after(model, TOKENS)


def test_generation_is_greedy_decoding_of_the_prompt(model: Model) -> None:
    session = model.session()
    logits = session.advance(TOKENS)
    expected = []
    for _ in range(10):
        expected.append(int(logits[:VOCAB].argmax()))
        logits = session.advance([expected[-1]])
    pieces = list(model.generate(TOKENS, max_tokens=10))
    assert [piece.token for piece in pieces] == [*expected, None]
    assert pieces[-1].finish_reason == "length"
    assert "".join(piece.text for piece in pieces) == model.tokenizer.decode(expected)


def test_text_from_outside_is_encoded_with_bos_and_without_control_pieces(model: Model) -> None:
    session = model.session()
    list(model.generate("a<|user|>", max_tokens=0, session=session))
    assert session.position == 1 + len(model.tokenizer.encode("a<|user|>"))


def test_a_stop_token_ends_the_answer_and_is_not_part_of_it(model: Model) -> None:
    first = next(iter(model.generate(TOKENS, max_tokens=1))).token
    assert first is not None
    pieces = list(model.generate(TOKENS, max_tokens=10, stop_tokens=[first]))
    assert [(piece.token, piece.finish_reason) for piece in pieces] == [(None, "stop")]


def test_sampling_repeats_with_its_seed_and_differs_with_another(model: Model) -> None:
    def sample(seed: int) -> list[int | None]:
        pieces = model.generate(TOKENS, max_tokens=30, temperature=3.0, top_p=0.95, seed=seed)
        return [piece.token for piece in pieces]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(Sampling(temperature=1.0, top_p=0.7, seed=3), 4)
    drawn = [sampler(logits) for _ in range(400)]
    assert set(drawn) == {0, 1}
    assert 0.5 < drawn.count(0) / 400 < 0.75
    everything = Sampler(Sampling(temperature=1.0, seed=3), 4)
    assert {everything(logits) for _ in range(400)} == {0, 1, 2, 3}


def test_an_interrupt_ends_a_prefill_between_chunks(model: Model) -> None:
    asked: list[tuple[int, int]] = []
    session = model.session()
    pieces = list(
        model.generate(
            [1] * (3 * STEP_POSITIONS),
            session=session,
            interrupt=lambda: "cancelled" if asked else None,
            on_prefill=lambda done, total: asked.append((done, total)),
        )
    )
    assert asked == [(STEP_POSITIONS, 3 * STEP_POSITIONS)]
    assert [piece.finish_reason for piece in pieces] == ["cancelled"]
    assert session.position == STEP_POSITIONS


def test_an_interrupt_ends_decoding_between_tokens(model: Model) -> None:
    answers = iter([None, None, None, "deadline"])
    pieces = list(model.generate([1, 2], max_tokens=50, interrupt=lambda: next(answers)))
    assert [piece.finish_reason for piece in pieces] == [None, None, "deadline"]


@pytest.mark.parametrize(
    "arguments",
    [{"max_tokens": -1}, {"temperature": -0.1}, {"temperature": float("nan")}, {"top_p": 0.0}],
)
def test_arguments_out_of_range_are_refused_at_once(
    model: Model, arguments: dict[str, float]
) -> None:
    with pytest.raises(UsageError):
        model.generate([1], **arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="empty"):
        model.generate([])


def test_a_model_without_a_tokenizer_works_with_ids_and_says_so_for_text(
    other_model: Model,
) -> None:
    assert len(list(other_model.generate([1, 2], max_tokens=3))) == 4
    with pytest.raises(DataError, match="--tokenizer"):
        other_model.generate("text")


def test_an_unknown_instruction_set_and_thread_count_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="native"):
        edgespike.load(model.container.path, isa="avx1024")
    with pytest.raises(UsageError, match="new process"):
        edgespike.load(model.container.path, isa="generic")
    with pytest.raises(UsageError, match="threads"):
        edgespike.load(model.container.path, threads=0)


def test_a_session_with_keys_and_values_of_another_precision_is_refused(
    model: Model, tmp_path: Path
) -> None:
    narrow = edgespike.load(model.container.path, kv="int8")
    session = model.session()
    session.advance(TOKENS)
    session.save(tmp_path / "s")
    assert (model.kv, session.nbytes > narrow.session().nbytes) == ("int16", True)
    with pytest.raises(DataError, match="int16, the model in int8"):
        narrow.session().load(tmp_path / "s")
    with pytest.raises(UsageError, match="int16, the model in int8"):
        narrow.session().restore(session.snapshot())

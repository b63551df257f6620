"""The training data: right answers, splits that share nothing, prompts as the daemon has them."""

from __future__ import annotations

import random
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgespike.prompting import BUNDLED, answer_part, render
from edgespike.sensing.picture import ChannelView, Picture
from edgespike.tokenizer import Tokenizer
from training.dialogues import WEIGHTS, batch, corpus, dialogue, random_turn, turn
from training.phrasings import TEMPLATES
from training.scenes import Split, scene, split_of, subject
from training.text import CONTROLS, train_tokenizer

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path: Path = tmp_path_factory.mktemp("tokenizer") / "t.model"
    train_tokenizer(path, pieces=700, lines=3000)
    return Tokenizer.from_file(path)


def test_the_tokenizer_has_the_public_control_pieces_and_split_digits(tokenizer: Tokenizer) -> None:
    assert tokenizer.size == 700
    assert [tokenizer.control(name) for name in CONTROLS] == list(range(4, 20))
    assert tokenizer.bos_id == 1
    text = "pump-07: 1234.50 µg/m³  žluťoučký\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("1234567890")) >= 10


@pytest.mark.parametrize("family", sorted(TEMPLATES))
def test_no_phrasing_serves_two_splits(family: str) -> None:
    found = [t for split in SPLITS for t in TEMPLATES[family][split]]
    assert len(found) == len(set(found))
    assert all(TEMPLATES[family][split] for split in SPLITS)


def test_no_place_or_device_serves_two_splits() -> None:
    for split in SPLITS:
        rng = random.Random(5)
        assert {split_of(subject(rng, split)) for _ in range(300)} == {split}


def test_a_scene_has_distinct_names_and_limits_that_say_the_truth() -> None:
    rng = random.Random(7)
    for _ in range(200):
        channels = scene(rng, "train", 12).channels
        assert len({c.name.casefold() for c in channels}) == len(channels)
        for c in channels:
            if c.number is None:
                continue
            assert c.text is not None
            assert float(c.text) == c.number
            low = float(c.low) if c.low else -np.inf
            high = float(c.high) if c.high else np.inf
            assert low < high
            state = "high" if c.number > high else "low" if c.number < low else "ok"
            assert c.limit in (None, state)


HOUSE = Picture(
    0.0,
    (
        ChannelView("hall temperature", "19.50", 19.5, "°C", "temperature", 5, trend="falling",
                    limit="ok", low="18", high="24"),
        ChannelView("attic temperature", "31.0", 31.0, "°C", "temperature", 7300, stale=True,
                    limit="high", high="28"),
        ChannelView("hall door", "open", age_s=61),
        ChannelView("well level", None, unit="cm", quantity="level"),
    ),
)  # fmt: skip

RIGHT = {
    "value": {
        "The hall temperature is 19.50 °C.",
        "The attic temperature was 31.0 °C 2 h ago, the reading is stale.",
        "The hall door is open.",
        "The well level has not reported yet.",
    },
    "too_high": {
        "No, the hall temperature is 19.50 °C, within its limits of 18 to 24 °C.",
        "Yes, the attic temperature is 31.0 °C, above its limit of 28 °C.",
        "The well level has not reported yet.",
    },
    "trend": {
        "The hall temperature is falling, now 19.50 °C.",
        "The attic temperature is 31.0 °C, its trend is not known.",
        "The well level has not reported yet.",
    },
    "highest": {"The attic temperature is highest with 31.0 °C."},
    "lowest": {"The hall temperature is lowest with 19.50 °C."},
    "alarms": {"The attic temperature is 31.0 °C, above its limit of 28 °C."},
    "stale": {"The attic temperature is stale, last read 2 h ago."},
    "state": {"Yes, the hall door is open.", "No, the hall door is open."},
}


@pytest.mark.parametrize("family", sorted(RIGHT))
def test_answers_state_what_the_sensors_gave(family: str) -> None:
    rng = random.Random(1)
    said = {t.answer for _ in range(60) if (t := turn(rng, "train", HOUSE, family))}
    assert said == RIGHT[family]


def test_an_unknown_name_is_in_no_reading_and_is_repeated_in_the_answer() -> None:
    rng = random.Random(2)
    names = [c.name for c in HOUSE.channels]
    for _ in range(100):
        found = turn(rng, "train", HOUSE, "unknown")
        assert found is not None
        name = re.fullmatch(r"There is no sensor called (.+)\.", found.answer)
        assert name is not None
        assert not any(name[1] in known or known in name[1] for known in names)


def test_every_family_is_asked() -> None:
    rng = random.Random(3)
    found = {random_turn(rng, "train", scene(rng, "train", 10)).family for _ in range(800)}
    assert found == set(WEIGHTS)


def test_a_dialogue_begins_exactly_as_the_daemon_asks(tokenizer: Tokenizer) -> None:
    """The first answer must follow the ids that `render` gives, or it is never learned."""
    ids, answers = dialogue(random.Random(4), "train", tokenizer, 512)
    rng = random.Random(4)
    from training.dialogues import scene_size

    picture = scene(rng, "train", scene_size(rng))
    first = random_turn(rng, "train", picture)
    prompt = render(picture, first.question, tokenizer=tokenizer, template=BUNDLED, budget=512)
    answer = answer_part(tokenizer, BUNDLED, first.answer)
    assert ids[: len(prompt.ids) + len(answer)] == prompt.ids + answer
    assert answers.index(True) == len(prompt.ids)


def test_a_batch_depends_on_seed_and_step_alone(tokenizer: Tokenizer) -> None:
    first = batch(1, 7, "train", tokenizer, 3, 256, 0.5)
    again = batch(1, 7, "train", tokenizer, 3, 256, 0.5)
    other = batch(1, 8, "train", tokenizer, 3, 256, 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    inputs, targets, weights = first
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])
    assert set(np.unique(weights)) == {0.0, 0.5, 1.0}


def test_the_text_for_the_tokenizer_is_what_is_encoded_one_by_one() -> None:
    lines = list(islice(corpus(random.Random(1), "train"), 500))
    assert all(line and line == " ".join(line.split()) for line in lines)

"""The training data: right answers, splits that share nothing, prompts as the daemon has them."""

from __future__ import annotations

import random
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgespike.prompting import BUNDLED, answer_part, render
from edgespike.prompting.answers import GROUPED, SINGLE, WHOLE
from edgespike.prompting.relevance import relevance
from edgespike.sensing.picture import ChannelView, Picture
from edgespike.tokenizer import Tokenizer
from training.dialogues import (
    COPIED,
    Dialogue,
    asker_of,
    batch,
    choices,
    corpus,
    dialogue,
    dialogues,
    next_turn,
)
from training.phrasings import ask, chosen, templates
from training.scenes import Scene, Split, later, scene, split_of, subject
from training.text import CONTROLS, extend_tokenizer, train_tokenizer
from training.turns import FOLLOW, WEIGHTS, Asker, Turn, detailed_of

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
    for name in BUNDLED.controls():
        assert tokenizer.encode(name) != [tokenizer.control(name)]


def test_a_tokenizer_without_marks_gets_them_as_its_last_pieces(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=islice(corpus(random.Random(1), "train"), 2000),
        model_prefix=str(tmp_path / "old"),
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        user_defined_symbols=list(CONTROLS),
        minloglevel=2,
    )
    old = tmp_path / "old.model"
    extend_tokenizer(old.read_bytes(), tmp_path / "new.model")
    before, after = Tokenizer.from_file(old), Tokenizer.from_file(tmp_path / "new.model")
    ids = sorted(after.control(name) for name in BUNDLED.controls())
    assert ids[-1] == after.size - 1
    assert {i for i in ids if i >= before.size} == set(range(before.size, after.size))
    assert after.encode("pump-07: 3 bar <|match|>") == before.encode("pump-07: 3 bar <|match|>")
    extend_tokenizer((tmp_path / "new.model").read_bytes(), tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == (tmp_path / "new.model").read_bytes()


@pytest.mark.parametrize("family", sorted(templates()))
def test_no_phrasing_serves_two_splits(family: str) -> None:
    found = [t for split in SPLITS for t in templates()[family][split]]
    assert len(found) == len(set(found))
    assert all(templates()[family][split] for split in SPLITS)


def test_a_template_stands_for_each_of_its_choices() -> None:
    rng = random.Random(1)
    said = {chosen(rng, "(Is|Was) the {n} (too (high|low)|ok)?") for _ in range(200)}
    assert len(said) == 6
    assert "Was the {n} too low?" in said
    for family, by_split in templates().items():
        for line in (line for lines in by_split.values() for line in lines):
            called = re.sub(r"\w\([^()|]*\)", "", chosen(rng, line))  # "max({a}, {b})"
            assert not set("()") & set(called), (family, line)


def test_a_question_fills_its_slots() -> None:
    rng = random.Random(2)
    for _ in range(200):
        text = ask(rng, "train", "state", n="hall door", s="open")
        assert "hall door" in text
        assert "{" not in text


def test_no_place_or_device_serves_two_splits() -> None:
    for split in SPLITS:
        rng = random.Random(5)
        assert {split_of(subject(rng, split)) for _ in range(300)} == {split}


def _tells_the_truth(c: ChannelView) -> None:
    if c.number is None:
        return
    assert c.text is not None
    assert float(c.text) == c.number
    low = float(c.low) if c.low else -np.inf
    high = float(c.high) if c.high else np.inf
    assert low < high
    state = "high" if c.number > high else "low" if c.number < low else "ok"
    assert c.limit in (None, state)
    if c.minimum is not None and c.maximum is not None:
        assert float(c.minimum) <= c.number <= float(c.maximum)


def test_a_scene_has_distinct_names_and_limits_that_say_the_truth() -> None:
    rng = random.Random(7)
    for _ in range(200):
        drawn = scene(rng, "train", 12)
        for each in (drawn, later(rng, drawn)):
            channels = each.picture.channels
            assert len({c.name.casefold() for c in channels}) == len(channels) == len(each.parts)
            for c in channels:
                _tells_the_truth(c)


HOUSE = Scene(
    Picture(
        0.0,
        (
            ChannelView("hall temperature", "19.50", 19.5, "°C", "temperature", 5, trend="falling",
                        limit="ok", low="18", high="24", minimum="18.1", maximum="20.0",
                        mean="19.2", since_s=7300),
            ChannelView("attic temperature", "31.0", 31.0, "°C", "temperature", 7300, stale=True,
                        limit="high", high="28"),
            ChannelView("cellar temperature", "8.0", 8.0, "°C", "temperature", 61, limit="low",
                        low="10"),
            ChannelView("hall door", "open", age_s=61, since_s=30),
            ChannelView("well level", None, unit="cm", quantity="level", stale=True),
        ),
    ),
    (("hall", "temperature"), ("attic", "temperature"), ("cellar", "temperature"),
     ("hall", "door"), ("well", "level")),
    ((), (), (), ("open", "closed"), ()),
)  # fmt: skip

STALE = "The attic temperature was 31.0 °C 2 h ago, the reading is stale."
SILENT = "The well level has not reported yet."
NOW = {
    "The hall temperature is 19.50 °C, within its limits of 18 to 24 °C for 2 h 1 min, falling.",
    STALE,
    "The cellar temperature is 8.0 °C, below its limit of 10 °C.",
    "The hall door has been open for 30 s.",
    SILENT,
}
RIGHT = {
    "value": NOW,
    "status": NOW,
    "trend": NOW,
    "stats": {
        "The hall temperature was between 18.1 and 20.0 °C, 19.2 °C on average.",
        STALE,
        "The cellar temperature is 8.0 °C, its history is not known.",
        "The hall door is open, its history is not known.",
        SILENT,
    },
    "since": {text for text in NOW if " for " in text},
    "highest": {"The highest is the attic temperature with 31.0 °C."},
    "lowest": {"The lowest is the cellar temperature with 8.0 °C."},
    "mean": {"The temperature of 3 sensors is 19.50 °C on average."},
    "count": {"3 temperature sensors."},
    "alarms": {"1 alarm: the cellar temperature is 8.0 °C, below its limit of 10 °C."},
    "summary": {
        "5 sensors, 1 alarm, 2 stale: the cellar temperature is 8.0 °C, below its limit of 10 °C."
    },
    "stale": {
        "2 stale: the attic temperature, last read 2 h ago; the well level, not reported yet."
    },
    "total": {"There are 5 sensors."},
    "kinds": {
        "5 sensors: 3 temperature (hall temperature, attic temperature, cellar temperature),"
        " 1 door (hall door), 1 level (well level)."
    },
    "state": {"The hall door has been open for 30 s."},
    "place": {
        "The hall temperature is 19.50 °C; the hall door is open.",
        STALE,
        "The cellar temperature is 8.0 °C, below its limit of 10 °C.",
        SILENT,
    },
}


@pytest.mark.parametrize("family", sorted(RIGHT))
def test_answers_state_what_the_sensors_gave(family: str) -> None:
    asker = Asker(random.Random(1), "train", HOUSE)
    said: set[str] = set()
    for drawn in range(8000):
        if drawn >= 200 and said >= RIGHT[family]:
            break
        if found := asker.turn(family):
            said.add(found.answer)
    assert said == RIGHT[family]


def test_two_are_compared_by_their_difference() -> None:
    asker = Asker(random.Random(1), "train", HOUSE)
    said = {t.answer for _ in range(60) if (t := asker.turn("compare"))}
    assert (
        "The hall temperature is higher with 19.50 °C, the cellar temperature is 8.0 °C,"
        " a difference of 11.50 °C."
    ) in said


def test_an_unknown_name_is_in_no_reading_and_is_repeated_in_the_answer() -> None:
    asker = Asker(random.Random(2), "train", HOUSE)
    names = [c.name for c in asker.channels]
    found = [t for _ in range(100) if (t := asker.turn("unknown"))]
    assert len(found) > 50
    for turn in found:
        name = re.fullmatch(r"There is no sensor called (.+)\.", turn.answer)
        assert name is not None
        assert name[1] not in names


def test_a_question_can_lean_on_the_one_before() -> None:
    asker = Asker(random.Random(3), "train", HOUSE)
    before = Turn("value", "hall temperature?", "", (0,))
    found = {t.family: t for _ in range(200) if (t := asker.follow(before))}
    assert set(found) == {f"follow_{kind}" for kind in FOLLOW} - {"follow_highest", "follow_lowest"}
    assert found["follow_value"].answer == "The hall door has been open for 30 s."
    assert "hall" not in found["follow_value"].question


@pytest.mark.parametrize("family", ["highest", "several", "value", "alarms"])
def test_more_is_asked_about_the_same(family: str) -> None:
    """Its focus is in view already, so that a context teaches more answers."""
    rng = random.Random(8)
    families = set()
    for _ in range(150):
        asker = Asker(rng, "train", scene(rng, "train", 12))
        before = asker.turn(family)
        turn = asker.again(before) if before else None
        if before and turn:
            families.add(turn.family)
            assert (turn.about, turn.kind) == (before.about, before.kind)
    expected = {
        "highest": set(GROUPED) - {"states"},
        "several": {"several", "compare"},
        "value": set(SINGLE),
        "alarms": set(WHOLE) - {"other"},
    }[family]
    assert families - {"together"} == expected  # few scenes have two whose values add up


def test_every_family_is_asked() -> None:
    rng = random.Random(3)
    found = {Asker(rng, "train", scene(rng, "train", 20)).drawn().family for _ in range(1200)}
    assert found == set(WEIGHTS)


def test_a_dialogue_begins_exactly_as_the_daemon_asks(tokenizer: Tokenizer) -> None:
    """The first answer must follow the ids that `render` gives, or it is never learned."""
    compared = 0
    for seed in range(40):
        made = dialogue(random.Random(seed), "train", tokenizer, 512)
        rng = random.Random(seed)
        from training.dialogues import _begin

        asker = asker_of(rng, "train")
        asker.scene = _begin(rng, Dialogue(tokenizer, BUNDLED, 512), asker.scene, 512)
        found = next_turn(asker, [])
        prompt = render(
            asker.scene.picture, found.question, tokenizer=tokenizer, template=BUNDLED, budget=512
        )
        answer = answer_part(tokenizer, BUNDLED, found.answer)
        if made.answers.index(True) == len(prompt.ids):  # it began without a key frame
            assert made.ids[: len(prompt.ids) + len(answer)] == prompt.ids + answer
            compared += 1
    assert compared > 10


def test_what_is_asked_by_name_is_what_code_finds() -> None:
    """Or the focus would not hold what the answer says."""
    rng = random.Random(9)
    for _ in range(100):
        asker = Asker(rng, "dev", scene(rng, "dev", 15))
        turn = next_turn(asker, [])
        if len(turn.about) == 1:
            found = relevance(asker.channels, turn.question)
            assert turn.about[0] in (*detailed_of(found), found.likely)


def test_a_batch_depends_on_seed_and_step_alone(tokenizer: Tokenizer) -> None:
    first = batch(1, 7, "train", tokenizer, 3, 256, 0.5)
    again = batch(1, 7, "train", tokenizer, 3, 256, 0.5)
    other = batch(1, 8, "train", tokenizer, 3, 256, 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    inputs, targets, weights = first
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])
    assert set(np.unique(weights)) == {0.0, 0.5, np.float32(COPIED), 1.0}


def test_choices_are_where_statements_part(tokenizer: Tokenizer) -> None:
    statements = ("The hall is on.", "The hall is off.", "No.")
    said = [*tokenizer.encode("The hall is off."), tokenizer.control("<|endofassistant|>")]
    found = choices(tokenizer, said, statements)
    open_ = "".join(tokenizer.text_bytes(t).decode() for t, c in zip(said, found, strict=True) if c)
    assert found[-1] is False
    assert "The"[0] in open_
    assert any(c in open_ for c in "of")
    assert "hall" not in open_
    assert choices(tokenizer, said, ["No."]) == [True] * len(said)
    cut = [*tokenizer.encode("No"), said[-1]]
    assert choices(tokenizer, cut, ("No", "No one"))[-1]


def test_every_answer_of_a_dialogue_has_its_family(tokenizer: Tokenizer) -> None:
    for row in dialogues(1, 2, "dev", tokenizer, 20, 320):
        starts = sum(b and not a for a, b in zip([False, *row.answers], row.answers, strict=False))
        assert starts == len(row.families)


def test_the_text_for_the_tokenizer_is_what_is_encoded_one_by_one() -> None:
    lines = list(islice(corpus(random.Random(1), "train"), 500))
    assert all(line and line == " ".join(line.split()) for line in lines)

"""Situations written by hand: their files, their questions and what is learned from them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from edgespike.prompting.answers import GROUPED, SINGLE, WHOLE, reading
from edgespike.prompting.association import COST, Ruled, Weights, learned, odds
from edgespike.prompting.focus import focus_lines
from edgespike.prompting.relevance import relevance
from edgespike.sensing.picture import ChannelView
from training.associate import Example, accuracy, examples, learn
from training.dialogues import next_turn
from training.scenes import split_of
from training.situations import FOLDER, Situated, Situation, parse, situations
from training.turns import detailed_of

BOAT = """\
== sailing boat
sensor Locker | locker | dry, wet
sensor Keel depth | depth | 0.8..40.0 m
sensor Sea temperature | temperature | 2.0..28.0 °C
sensor Deck temperature | temperature | 20.0..90.0 °C
ask state Locker | is the locker dry?
then since | for how long?
ask compare Sea temperature, Deck temperature | deck temperature against sea temperature
ask highest temperature | which temperature is highest
ask other | what's for dinner?
"""


def boat() -> Situation:
    (found,) = parse(BOAT)
    return found


def whole(seed: int = 0) -> Situated:
    """Asks about the boat with all of its sensors."""
    asker = Situated(random.Random(seed), "train", boat())
    while len(asker.channels) < 4 or any(c.stale or c.text is None for c in asker.channels):
        seed += 1
        asker = Situated(random.Random(seed), "train", boat())
    return asker


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_questions_are_about_what_is_there(path: Path) -> None:
    for situation in parse(path.read_text(encoding="utf-8")):
        sensors = {s.name: s for s in situation.sensors}
        kinds = {s.kind for s in situation.sensors}
        assert len(sensors) == len(situation.sensors) > 0
        assert all(s.quantity is not None or len(s.states) > 1 for s in situation.sensors)
        for wording in situation.wordings:
            family, about = wording.family, wording.about
            assert all(wording.texts or [""]), (situation.title, wording)
            if family in WHOLE or family == "unknown":
                assert not about
            elif family in GROUPED:
                assert about in {(kind,) for kind in kinds}
            else:
                assert family in (*SINGLE, "several", "compare")
                assert set(about) <= set(sensors)
                assert (len(about) == 1) == (family in SINGLE)
            assert all(then in SINGLE for then, _ in wording.then)
            assert not wording.then or family in SINGLE


def test_the_splits_share_no_situation() -> None:
    found = situations()
    titles = {split: {id(s) for s in each} for split, each in found.items()}
    assert len(found["train"]) > 7 * len(found["dev"]) > 0
    assert not titles["train"] & titles["dev"]
    assert not titles["test"] & (titles["train"] | titles["dev"])


def test_a_line_of_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no line of a situation: question"):
        list(parse(BOAT + "question what?\n"))


def test_names_of_other_splits_are_left_out() -> None:
    places = [p for p in ("attic", "cellar", "garage", "kitchen", "sauna", "pool", "boiler", "barn")
              if split_of(p) != "train"]  # fmt: skip
    assert places
    text = (
        f"== home\nsensor {places[0].title()} door | door | open, closed\n" + BOAT.split("\n", 1)[1]
    )
    (home,) = parse(text)
    for seed in range(20):
        names = {c.name for c in Situated(random.Random(seed), "train", home).channels}
        assert not any("door" in name.casefold() for name in names)


def test_answers_state_the_readings_of_what_a_question_is_about() -> None:
    asker = whole()
    state, compare, highest, other = asker.situation.wordings
    locker = asker.channels[0]
    assert (turn := asker.worded(state, "is the locker dry?")) is not None
    assert turn.about == (0,)
    assert turn.answer == reading(locker)
    assert f"{locker.name} has been {locker.text} for " in turn.answer
    assert (turn := asker.worded(compare, "deck temperature against sea temperature")) is not None
    assert set(turn.about) == {2, 3}
    assert "a difference of" in turn.answer
    assert (turn := asker.worded(highest, "which temperature is highest")) is not None
    hottest = max(asker.channels[2:], key=lambda c: c.number or 0.0)
    assert turn.answer.startswith(f"The highest is the {hottest.name} with {hottest.text}")
    assert (turn := asker.worded(other, "what's for dinner?")) is not None
    assert turn.answer.startswith("I can only answer questions about the sensors.")


def test_a_follow_up_leans_on_the_question_before() -> None:
    asker = whole()
    asker.rng = random.Random(1)
    while True:
        first = next_turn(asker, [])
        if first.family == "state" and first.about == (0,):
            break
    while (follow := asker.follow(first)) is None or follow.family != "follow_since":
        pass
    found = relevance(asker.channels, follow.question, [first.question])
    assert follow.about == (0,) == found.before


def test_what_is_asked_is_told_in_detail() -> None:
    rng = random.Random(6)
    for situation in situations()["dev"][:20]:
        asker = Situated(rng, "dev", situation)
        for _ in range(5 if asker.channels else 0):
            turn = next_turn(asker, [])
            if turn.family in SINGLE:
                found = relevance(asker.channels, turn.question)
                assert turn.about[0] in (*detailed_of(found), found.likely)


PANELS = ChannelView("PV power", "4100", 4100.0, "W", "power")
CAR = ChannelView("Car battery", "63", 63.0, "%", "battery")
WEIGHTS = Weights(
    bias=-1.0, named=2.0, near=1.0, hint=0.75, missing=0.5, rival=1.0, strange=-3.0, heard=-1.5,
    usual=-0.5, number=-4.0, match=0.0, sure=0.0, maybe=0.0, lost=-0.25,
    words={"panel": {COST: -2.0, "pv": 1.5}, "the": {COST: 0.0}},
)  # fmt: skip


def test_words_are_explained_or_cost() -> None:
    """bias + explained or cost of each word - missing share of the name, less the distance to the
    best."""
    ruled = Ruled([frozenset(), frozenset({"car"})])
    panels, car = odds([PANELS, CAR], "the panels", ruled, WEIGHTS)
    assert panels == pytest.approx(-1.0 + 0.0 + 1.5 - 0.5)
    assert car == pytest.approx((-1.0 - 2.0 - 0.5) - (0.0 - (-3.5)))
    panels, car = odds([PANELS, CAR], "the car", ruled, WEIGHTS)
    assert car == pytest.approx(-1.0 + 2.0 - 0.5 * 0.5)
    assert panels < car - 3.0
    lost = Ruled([frozenset(), frozenset()], lost=True)
    assert odds([PANELS], "7", Ruled([frozenset()], lost=True), WEIGHTS) == [
        -1.0 - 4.0 - 0.5 - 0.25
    ]
    assert max(odds([PANELS, CAR], "zqx", lost, WEIGHTS)) < -3.0


def test_what_was_learned_finds_what_has_another_name() -> None:
    vents = ChannelView("Roof vents", "open")
    found = relevance([vents, PANELS, CAR], "vents open for the horses?")
    assert (found.match, found.unknown) == ((0,), ())


@pytest.mark.parametrize(
    ("known", "question"),
    [
        ("boiler 4 1 weight", "Sorry, the boiler 4 1 B weight was what?"),
        ("chiller_129c battery voltage", "report the chiller_129c 17 battery voltage"),
        ("wysk line pressure", "what is the wysk bilvöm line pressure"),
        ("room 4 vibration", "is the speed in room 4 rising"),
    ],
)
def test_what_was_learned_takes_no_other_name_for_a_known_one(known: str, question: str) -> None:
    unit = {"weight": "kg", "voltage": "V", "pressure": "bar", "vibration": "mm/s"}
    quantity = known.split()[-1]
    channel = ChannelView(known, "4", 4.0, unit[quantity], quantity)
    found = relevance([channel, PANELS, CAR], question)
    assert (found.match, found.maybe) == ((), ())
    assert found.unknown


def test_the_likely_one_of_several_is_told_in_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    percent = {"percentage": {COST: -1.0, "unit:%": 1.5}}
    learned_so = replace(WEIGHTS, words={**WEIGHTS.words, **percent})
    monkeypatch.setattr("edgespike.prompting.relevance.learned", lambda: learned_so)
    battery = [
        ChannelView("Battery temperature", "21", 21.0, "°C", "temperature", 5.0),
        ChannelView("Battery voltage", "12.6", 12.6, "V", "voltage", 5.0),
        ChannelView("Battery charge", "80", 80.0, "%", "charge", 5.0),
        ChannelView("Battery current", "3", 3.0, "A", "current", 5.0),
    ]
    found = relevance(battery, "what percentage is the battery at")
    assert (found.maybe, found.likely) == ((0, 1, 2, 3), 2)
    shown = [line for lines in focus_lines(battery, found) for line in lines]
    told = [line for line in shown if line[0][0] == "maybe" and ("unit", "%") in line]
    assert [line[0][1] for line in told] == ["Battery charge"]


def test_associations_are_learned_from_questions() -> None:
    rng = random.Random(2)
    given = []
    for number in range(600):
        meant = rng.randrange(2)
        word = ("panels", "motorcar")[meant]
        text = rng.choice(("how are the {}", "the {}?", "{} now")).format(word)
        given.append(Example(text, (PANELS, CAR), frozenset({meant}), number))
    weights = learn(given, rounds=100, seed=0)
    assert accuracy(weights, given)[0] > 0.99
    assert set(weights.words["panel"]) & {"pv", "unit:W", "kind:power", "power"}


def test_examples_ask_for_what_is_there_and_what_is_not() -> None:
    given = list(examples(random.Random(0), "dev", 400))
    assert {bool(e.meant) for e in given} == {True, False}
    assert all(0 <= i < len(e.channels) for e in given for i in e.meant)


def test_the_learned_weights_are_complete() -> None:
    assert len(learned().words) > 1000
    assert all(COST in each for each in learned().words.values())

"""What the wording of a question asks for: learned odds of statements, and what they do."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_grounding import random_tokenizer

from edgespike.engine.sample import Sampler, Sampling
from edgespike.grounding import Stated, Vocabulary
from edgespike.prompting.intent import (
    KINDS,
    TRUST,
    Intents,
    features,
    key,
    learned_intents,
    weighed,
)
from edgespike.prompting.relevance import Relevance, relevance
from edgespike.prompting.statements import statements
from edgespike.sensing.picture import ChannelView

ROOMS = [
    ChannelView(name, text=text, number=float(text), unit="°C", quantity="temperature", age_s=9.0)
    for name, text in (("kitchen", "21.5"), ("hall", "19"), ("attic", "30.1"))
]


def asked(question: str) -> Relevance:
    return relevance(ROOMS, question)


def said(question: str) -> dict[str, float]:
    found = asked(question)
    return weighed(statements(ROOMS, found), found, learned_intents())


def test_a_question_is_put_the_same_whatever_sensor_it_names() -> None:
    def of(question: str) -> set[str]:
        return set(features(asked(question), lambda word: True))

    assert of("how warm is the hall today") == of("How warm is the attic, today?")
    assert of("how warm is the hall today") != of("how warm was the hall today")
    assert not any("hall" in feature for feature in of("the hall, is it warm"))


def test_words_that_phrasings_lack_are_told_by_their_letters() -> None:
    known = {"is", "the", "in", "alarm"}
    found = set(features(asked("is the hall in alarmm"), known.__contains__))
    assert "in ?" in found
    assert {"~<al", "~armm", "~mm>"} <= found
    assert not any(feature.startswith("~") for feature in features(asked("is the"), lambda w: True))


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("how warm is the hall?", "The hall is 19 °C."),
        ("when was the hall last read?", "The hall was read 9 s ago."),
        ("which is the warmest?", "The highest is the attic with 30.1 °C."),
        ("average temperature", "The temperature of 3 sensors is 23.5 °C on average."),
        ("are there any alarms?", "There are no alarms."),
    ],
)
def test_what_is_asked_for_is_the_likeliest(question: str, right: str) -> None:
    odds = said(question)
    assert max(odds, key=odds.__getitem__) == right


def test_odds_are_the_sum_of_what_the_features_weigh() -> None:
    rng = np.random.default_rng(3)
    found = asked("is the hall warmer than the unheard of attic xyzzy")
    known = {"is", "the", "than", "of"}
    names = set(features(found, known.__contains__))
    kept = sorted({key(name) for name in names if rng.random() < 0.6} | {key(w) for w in known})
    table = rng.integers(-127, 128, (len(kept), len(KINDS))).astype(np.int8)
    odds = Intents(np.array(kept, np.uint32), table, 0.03).odds(found)
    rows = [table[kept.index(key(name))].astype(float) for name in names if key(name) in kept]
    assert 3 < len(rows) < len(names)
    wanted = 0.03 * np.sum(rows, axis=0) / np.sqrt(len(rows))
    np.testing.assert_allclose([odds[kind] for kind in KINDS], wanted, rtol=1e-12)


def test_nothing_learned_prefers_nothing() -> None:
    blank = Intents(np.array([5], np.uint32), np.ones((1, len(KINDS)), np.int8), 1.0)
    assert set(blank.odds(asked("how warm is the hall?")).values()) == {0.0}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_has_finite_odds(text: str) -> None:
    odds = said(text)
    assert odds
    assert np.isfinite(list(odds.values())).all()


def test_an_endless_question_costs_no_more_than_a_long_one() -> None:
    long, endless = (list(features(asked("zap " * n), lambda w: False)) for n in (64, 20_000))
    assert long == endless


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_where_the_model_has_no_opinion_the_odds_decide(order: tuple[int, ...]) -> None:
    tokenizer = random_tokenizer(2)
    odds = [("The hall is on.", 0.0), ("The hall is off.", 2.0), ("The attic is on.", 1.0)]
    constraint = Stated(Vocabulary(tokenizer), dict(odds[i] for i in order))
    sampler = Sampler(Sampling(), tokenizer.size, constraint)
    spelt: list[int] = []
    while len(spelt) < len(tokenizer.encode("The hall is off.")):
        token = constraint.forced
        token = sampler(np.zeros(tokenizer.size, np.float32)) if token is None else token
        assert token is not None
        constraint.push(token)
        spelt.append(token)
    assert tokenizer.decode(spelt).strip() == "The hall is off."


def test_a_model_that_is_sure_enough_has_the_last_word() -> None:
    tokenizer = random_tokenizer(2)
    ids = {text: tokenizer.encode(text) for text in ("on", "off")}
    at = next(i for i, (a, b) in enumerate(zip(*ids.values(), strict=False)) if a != b)
    for lead, right in ((1.5, "off"), (2.5, "on")):
        constraint = Stated(Vocabulary(tokenizer), {"on": 0.0, "off": 2.0})
        for token in ids["on"][:at]:
            constraint.push(token)
        logits = np.zeros(tokenizer.size, np.float32)
        logits[ids["on"][at]] = lead
        assert Sampler(Sampling(), tokenizer.size, constraint)(logits) == ids[right][at]


def test_one_statement_needs_no_odds() -> None:
    found = asked("how warm is the hall?")
    assert weighed({"It is.": {"reading"}}, found, learned_intents()) == {"It is.": 0.0}
    two = weighed({"It is.": {"reading", "age"}, "Or not.": {"age"}}, found, learned_intents())
    odds = learned_intents().odds(found)
    assert two == {
        "It is.": TRUST * max(odds["reading"], odds["age"]),
        "Or not.": TRUST * odds["age"],
    }

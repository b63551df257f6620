"""Prompts: what fits is in, the rest is named, nothing from outside becomes a control piece."""

from __future__ import annotations

import io
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from edgespike.errors import DataError
from edgespike.prompting import (
    BUNDLED,
    MAX_NAME,
    PLAIN,
    PromptTemplate,
    answer_part,
    association,
    changes,
    clean,
    default_template,
    describe,
    describe_age,
    key_frame,
    question,
    rank,
    render,
    turn,
    words,
)
from edgespike.prompting.relevance import relevance
from edgespike.sensing.picture import ChannelView, Picture
from edgespike.tokenizer import Tokenizer

FRAMED = PromptTemplate(reading="<|spike|>", preamble="", focus=0)
"""Readings with a control piece, and no focus."""

CONTROLS = [name for t in (BUNDLED, PromptTemplate()) for name in t.controls()]


def build(controls: list[str]) -> Tokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            ["the kitchen temperature is 21.5 °C", "pump-07 pressure: 3 bar"] * 9
        ),
        model_writer=model,
        model_type="bpe",
        vocab_size=340,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        user_defined_symbols=list(dict.fromkeys(controls)),
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build(CONTROLS)


KITCHEN = ChannelView("kitchen temperature", "21.5", 21.5, "°C", "temperature", 4.0)
PUMP = ChannelView(
    "pump-07 pressure", "7.9", 7.9, "bar", "pressure", 65.0, limit="high", high="6.5"
)
DOOR = ChannelView("front door", "open", age_s=7300.0)
HOUSE = Picture(1.7e9, (KITCHEN, DOOR, PUMP))


def ask(tokenizer: Tokenizer, picture: Picture, question: str, budget: int = 400):
    return render(picture, question, tokenizer=tokenizer, template=FRAMED, budget=budget)


@pytest.mark.parametrize(
    ("channel", "line"),
    [
        (KITCHEN, "kitchen temperature: 21.5 °C, 4 s ago"),
        (PUMP, "pump-07 pressure: 7.9 bar, HIGH above 6.5, 1 min ago"),
        (DOOR, "front door: open, 2 h ago"),
        (ChannelView("well level", None), "well level: no reading"),
        (
            ChannelView("a b", "1", 1.0, "m", trend="rising", limit="ok", low="0", high="2"),
            "a b: 1 m rising, ok 0 to 2",
        ),
        (ChannelView("a", "1", 1.0, limit="ok", low="0"), "a: 1, ok above 0"),
        (ChannelView("a", "1", 1.0, limit="low", low="2"), "a: 1, LOW below 2"),
        (ChannelView("a", "1", 1.0, stale=True, age_s=90000), "a: 1, stale, 1 day ago"),
    ],
)
def test_a_reading_is_one_line_with_what_is_known(channel: ChannelView, line: str) -> None:
    assert describe(channel) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (86399, "23 h"),
        (172800, "2 days"),
    ],
)
def test_an_age_is_given_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert describe_age(seconds) == text


@given(st.text())
def test_a_cleaned_text_is_one_bounded_printable_line(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert len(cleaned) <= MAX_NAME
    assert cleaned == clean(cleaned).strip()


def test_readings_stand_in_the_order_of_the_picture(tokenizer: Tokenizer) -> None:
    prompt = ask(tokenizer, HOUSE, "What is the pump-07 pressure?")
    assert prompt.used == ("kitchen temperature", "front door", "pump-07 pressure")
    assert prompt.left_out == ()
    assert prompt.text == (
        "<|system|><|spike|>kitchen temperature: 21.5 °C, 4 s ago<|spike|>front door: open, 2 h ago"
        "<|spike|>pump-07 pressure: 7.9 bar, HIGH above 6.5, 1 min ago<|endofsystem|>"
        "<|user|>What is the pump-07 pressure?<|endofuser|><|assistant|>"
    )
    assert prompt.ids[0] == tokenizer.bos_id
    assert prompt.ids[-1] == tokenizer.control("<|assistant|>")


def test_the_named_sensor_comes_first_then_alarms_then_what_shares_a_word() -> None:
    channels = (
        ChannelView("attic humidity", "40", 40.0),
        PUMP,
        ChannelView("kitchen humidity", "50", 50.0),
        KITCHEN,
    )
    assert rank(channels, "what's the Kitchen temperature?") == [3, 1, 2, 0]
    assert rank(channels, "any news?") == [1, 0, 2, 3]


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    rooms = [ChannelView(f"room {i} temperature", "1", 1.0) for i in range(5)]
    cellar = ChannelView("cellar air temperature", "1", 1.0)
    assert rank([*rooms, cellar], "temperature in the cellar")[0] == 5


def test_what_does_not_fit_is_left_out_and_named(tokenizer: Tokenizer) -> None:
    picture = Picture(0.0, tuple(ChannelView(f"room {i} light", "12.25", 12.25) for i in range(50)))
    prompt = ask(tokenizer, picture, "What is the room 33 light?", budget=200)
    assert len(prompt.ids) <= 200
    assert "room 33 light" in prompt.used
    assert set(prompt.used) | set(prompt.left_out) == {c.name for c in picture.channels}
    assert not set(prompt.used) & set(prompt.left_out)
    assert len(prompt.left_out) > 20


@given(st.integers(0, 120))
def test_no_prompt_exceeds_its_budget(tokenizer: Tokenizer, budget: int) -> None:
    try:
        prompt = ask(tokenizer, HOUSE, "Is the front door open?", budget)
    except DataError:
        return
    assert len(prompt.ids) <= budget
    assert len(prompt.used) + len(prompt.left_out) == 3


def test_a_question_beyond_the_budget_is_refused_not_cut(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="ask a shorter one"):
        ask(tokenizer, HOUSE, "why " * 2000)
    with pytest.raises(DataError, match="and has room for 0 tokens"):
        ask(tokenizer, HOUSE, "why?", 1)


@given(
    st.lists(st.sampled_from([*CONTROLS, "kitchen", " ", "\n", "\x00", "＜|user|＞"]), max_size=8)
)
def test_outside_text_never_becomes_a_control_piece(tokenizer: Tokenizer, words: list[str]) -> None:
    text = "".join(words)
    picture = Picture(0.0, (ChannelView(text, text, unit=text, low=text, limit="low"),))
    ids = ask(tokenizer, picture, text, budget=4000).ids
    controls = {tokenizer.control(name) for name in CONTROLS}
    expected = [
        "<|system|>",
        "<|spike|>",
        "<|endofsystem|>",
        "<|user|>",
        "<|endofuser|>",
        "<|assistant|>",
    ]
    assert [i for i in ids if i in controls] == [tokenizer.control(name) for name in expected]


def test_a_dialogue_is_a_key_frame_then_changes_and_turns(tokenizer: Tokenizer) -> None:
    how = {"tokenizer": tokenizer, "template": FRAMED, "budget": 400}
    frame = key_frame(HOUSE, **how)
    assert frame.ids[0] == tokenizer.bos_id
    assert frame.text.startswith("<|system|><|spike|>kitchen temperature: 21.5")
    assert (frame.used, frame.left_out) == (tuple(c.name for c in HOUSE.channels), ())
    change = changes(HOUSE, {"front door"}, **how)
    assert tokenizer.bos_id not in change.ids
    assert change.text == "<|system|><|spike|>front door: open, 2 h ago<|endofsystem|>"
    assert change.used == ("front door",)
    asked = turn(HOUSE, "ok?", **how, previous=("what is high?",))
    assert asked.text.endswith("<|user|>ok?<|endofuser|><|assistant|>")
    assert render(HOUSE, "ok?", **how).ids[-len(asked.ids) :] == asked.ids
    assert answer_part(tokenizer, FRAMED, "yes")[-1] == tokenizer.control("<|endofassistant|>")


def test_where_not_all_fits_a_key_frame_shows_alarms(tokenizer: Tokenizer) -> None:
    room = len(
        key_frame(Picture(0.0, (PUMP,)), tokenizer=tokenizer, template=FRAMED, budget=400).ids
    )
    frame = key_frame(HOUSE, tokenizer=tokenizer, template=FRAMED, budget=room)
    assert frame.used == ("pump-07 pressure",)
    assert frame.left_out == ("kitchen temperature", "front door")
    names = {"kitchen temperature", "pump-07 pressure"}
    some = changes(HOUSE, names, tokenizer=tokenizer, template=FRAMED, budget=room)
    assert some.used == ("pump-07 pressure",)
    assert some.left_out == ("kitchen temperature",)


def test_the_same_input_gives_the_same_prompt(tokenizer: Tokenizer) -> None:
    assert ask(tokenizer, HOUSE, "alarms?") == ask(tokenizer, HOUSE, "alarms?")


def test_a_template_survives_json() -> None:
    assert PromptTemplate.from_json(BUNDLED.to_json()) == BUNDLED


@pytest.mark.parametrize(
    "text", ["", "[]", '{"user": 3}', '{"budget": true}', '{"x": "y"}', "[" * 9999]
)
def test_a_wrong_template_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        PromptTemplate.from_json(text)


def test_a_model_without_a_template_is_asked_by_the_public_pieces(tokenizer: Tokenizer) -> None:
    template = default_template(tokenizer)
    prompt = render(HOUSE, "ok?", tokenizer=tokenizer, template=template, budget=400)
    assert "\n- front door: open, 2 h ago" in prompt.text
    assert prompt.text.endswith("<|user|>ok?<|endofuser|><|assistant|>")


def test_a_tokenizer_without_chat_pieces_is_asked_in_plain_text() -> None:
    plain = build([])
    assert default_template(plain) == PLAIN
    prompt = render(HOUSE, "ok?", tokenizer=plain, template=PLAIN, budget=400)
    assert prompt.text.endswith("Question: ok?\nAnswer:")
    assert "<|" not in prompt.text


def test_a_question_that_cannot_fit_is_refused_unread(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait while it is encoded, and a prompt may have a megabyte."""
    encoded: list[int] = []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda text: encoded.append(len(text)) or encode(text))
    with pytest.raises(DataError, match="1000000 characters and has room for 1"):
        ask(tokenizer, HOUSE, "why? " * 200_000, 200)
    assert sum(encoded) < 1000


def test_no_more_of_a_long_question_is_cut_into_words_than_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[int] = []

    def counted(*given: Any) -> Any:
        cuts = words.cut(*given)
        found.append(len(cuts))
        return cuts

    monkeypatch.setattr(question, "cut", counted)
    monkeypatch.setattr(association, "cut", counted)
    relevance(HOUSE.channels, "is the flurble of the wibble glonk? " * 5000)
    assert 64 <= max(found) <= 200

"""Prompts as they arrive, and replies as they leave."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.errors import DataError
from edgespike.messages import (
    MAX_ID_BYTES,
    Accepted,
    Answer,
    BadPrompt,
    Chunk,
    ContextUse,
    ErrorReply,
    Progress,
    PromptRequest,
    Reply,
    Timing,
    Usage,
    correlation_id,
    parse_cancel,
    parse_prompt,
    parse_reply,
    topic_safe_id,
)


def parse(payload: bytes | str | dict[str, Any], **options: Any) -> Any:
    if isinstance(payload, dict):
        payload = json.dumps(payload)
    if isinstance(payload, str):
        payload = payload.encode()
    return parse_prompt(payload, make_id=lambda: "made", **options)


def refusal(payload: bytes | str | dict[str, Any], **options: Any) -> BadPrompt:
    with pytest.raises(BadPrompt) as caught:
        parse(payload, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def outcome(payload: bytes, correlation: bytes | None = None) -> PromptRequest | BadPrompt:
    try:
        return parse_prompt(payload, correlation=correlation)
    except BadPrompt as error:
        return error


def test_a_text_is_a_prompt() -> None:
    request = parse("is the boiler too hot?\n")
    assert (request.prompt, request.id, request.given_id) == (
        "is the boiler too hot?",
        "made",
        False,
    )
    assert (request.stream, request.max_tokens, request.priority) == (False, None, 4)


def test_every_field_of_a_json_prompt_arrives() -> None:
    request = parse(
        {
            "prompt": " warm? ",
            "id": "q-7",
            "max_tokens": 5,
            "stream": True,
            "deadline_ms": 900,
            "priority": 9,
            "session": "kitchen",
            "temperature": 0.5,
        }
    )
    assert request.prompt == "warm?"
    assert (request.id, request.given_id) == ("q-7", True)
    assert (request.max_tokens, request.stream, request.deadline_ms) == (5, True, 900)
    assert (request.priority, request.session, request.temperature) == (9, "kitchen", 0.5)


def test_the_id_is_the_jsons_then_the_correlation_datas_then_made() -> None:
    assert parse({"prompt": "x", "id": "a"}, correlation=b"b").id == "a"
    assert parse({"prompt": "x"}, correlation=b"b").id == "b"
    assert parse("x", correlation=b"b").id == "b"
    assert parse("x", correlation=b"").id == "made"
    assert parse({"prompt": "x", "id": 42}).id == "42"


def test_binary_correlation_data_gives_the_same_safe_id_each_time() -> None:
    for data in (b"\x00\xff", b"a/b", b"+", b"x" * 65, b"\xff" * 500):
        assert topic_safe_id(correlation_id(data))
        assert correlation_id(data) == correlation_id(data)
    assert correlation_id(b"\x00\xff") == "00ff"
    assert correlation_id(b"x" * 65) != correlation_id(b"x" * 66)


@pytest.mark.parametrize(
    "id", ["", "a/b", "a+", "#", "a\nb", "a\x00", "x" * (MAX_ID_BYTES + 1), "\ud800"]
)
def test_an_id_that_no_topic_level_can_hold_is_refused(id: str) -> None:
    assert refusal({"prompt": "x", "id": id}).code == "bad_request"


def test_a_refusal_carries_the_id_that_was_given() -> None:
    assert refusal({"prompt": "", "id": "q"}).id == "q"
    assert refusal({"prompt": 5}, correlation=b"c").id == "c"
    assert refusal(b"\xff", correlation=b"c").id == "c"


@pytest.mark.parametrize(
    ("payload", "id"),
    [
        ({"prompt": "x" * 99, "id": "q"}, "q"),
        ({"prompt": 'not "id": "this" ' * 9, "id": 7}, "7"),
        ('{"id": "q", "prompt": "' + "x" * 99, "q"),
        ('{"id": "q", "prompt"', "q"),
        (b'{"id": "q", "prompt": "\xff"}', "q"),
        ({"prompt": "x" * 99, "id": "a/b"}, "made"),
        ({"prompt": "x" * 99, "id": "+" * 65}, "made"),
        ('a text with "id": "q"' * 9, "made"),
    ],
)
def test_who_sends_what_cannot_be_parsed_is_told_by_the_id_that_is_listened_for(
    payload: Any, id: str
) -> None:
    assert refusal(payload, max_bytes=80).id == id


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": "x", "max_token": 5}, "did you mean 'max_tokens'"),
        ({"prompt": "x", "zzz": 5}, "known: prompt, id"),
        ({}, "'prompt' must be a text"),
        ({"prompt": ["x"]}, "'prompt' must be a text"),
        ({"prompt": "  "}, "empty"),
        ({"prompt": "a\x00b"}, "U+0000"),
        ({"prompt": "\ud800"}, "surrogate"),
        ({"prompt": "x", "max_tokens": 0}, "from 1 to 4096"),
        ({"prompt": "x", "max_tokens": 4097}, "from 1 to 4096"),
        ({"prompt": "x", "max_tokens": True}, "max_tokens must be"),
        ({"prompt": "x", "max_tokens": 1.5}, "max_tokens must be"),
        ({"prompt": "x", "deadline_ms": -1}, "deadline_ms must be"),
        ({"prompt": "x", "priority": 10}, "from 0 to 9"),
        ({"prompt": "x", "stream": "yes"}, "true or false"),
        ({"prompt": "x", "session": "a/b"}, "session must be"),
        ({"prompt": "x", "temperature": 3}, "from 0 to 2"),
        ({"prompt": "x", "temperature": True}, "temperature must be"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said(body: dict[str, Any], words: str) -> None:
    error = refusal(body)
    assert error.code == "bad_request"
    assert words in str(error)


@pytest.mark.parametrize(
    "payload",
    [
        "{hello}",
        '{"prompt": "x"',
        '{"prompt": "x"} trailing',
        '{"prompt": "x", "temperature": NaN}',
        '{"prompt": "x", "prompt": "y"}',
        '{"prompt": ' + "[" * 15000,
        '{"prompt": "x", "max_tokens": ' + "9" * 5000 + "}",
    ],
)
def test_a_text_like_json_that_is_none_is_refused_with_the_way_out(payload: str) -> None:
    error = refusal(payload)
    assert error.code == "bad_request"
    assert 'send {"prompt": "..."}' in str(error) or "max_tokens" in str(error)


def test_a_null_field_is_as_good_as_none() -> None:
    assert parse({"prompt": "x", "max_tokens": None, "stream": None, "id": None}).max_tokens is None


def test_limits_are_in_bytes_and_the_nodes_own() -> None:
    assert refusal("é" * 50, max_bytes=99).code == "too_large"
    assert parse("é" * 50, max_bytes=100).prompt == "é" * 50
    assert refusal(b"x" * 10_000_000).code == "too_large"
    assert refusal({"prompt": "x", "max_tokens": 65}, max_tokens=64).code == "bad_request"
    assert refusal({"prompt": "x", "deadline_ms": 2}, max_deadline_ms=1).code == "bad_request"


@given(st.binary(max_size=300), st.none() | st.binary(max_size=80))
def test_any_bytes_are_a_prompt_or_a_refusal(payload: bytes, correlation: bytes | None) -> None:
    result = outcome(payload, correlation)
    assert topic_safe_id(result.id)
    assert "\n" not in str(result) if isinstance(result, BadPrompt) else result.prompt.strip()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    [
        "prompt",
        "id",
        "max_tokens",
        "stream",
        "deadline_ms",
        "priority",
        "session",
        "temperature",
        "x",
    ]
)


@given(st.dictionaries(_NAMES, _JSON, max_size=8))
def test_any_json_object_is_a_prompt_or_a_refusal(body: dict[str, Any]) -> None:
    result = outcome(json.dumps(body).encode())
    assert topic_safe_id(result.id)
    assert isinstance(result, BadPrompt) or result.prompt == body["prompt"].strip()


@pytest.mark.parametrize("payload", [b"q-7", b' {"id": "q-7"} ', b"q-7\n"])
def test_a_cancel_names_an_id_bare_or_in_json(payload: bytes) -> None:
    assert parse_cancel(payload) == "q-7"


@pytest.mark.parametrize(
    "payload", [b"", b"a/b", b"\xff", b"{}", b'{"id": ["a"]}', b"{", b"x" * 9999]
)
def test_a_cancel_without_an_id_is_refused(payload: bytes) -> None:
    with pytest.raises(BadPrompt):
        parse_cancel(payload)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_COUNT = st.integers(0, 2**53)
_AMOUNT = st.floats(0, 1e9)
_NAMED = st.lists(_TEXT, max_size=4).map(tuple)
REPLIES = st.one_of(
    st.builds(Accepted, _TEXT, _COUNT, _COUNT),
    st.builds(Progress, _TEXT, _COUNT, _COUNT, _COUNT),
    st.builds(Chunk, _TEXT, _COUNT, _TEXT),
    st.builds(
        Answer,
        _TEXT,
        _COUNT,
        _TEXT,
        st.sampled_from(["stop", "length", "deadline", "cancelled"]),
        st.builds(Usage, _COUNT, _COUNT),
        st.builds(Timing, _AMOUNT, st.none() | _AMOUNT, _AMOUNT, st.none() | _AMOUNT),
        st.builds(ContextUse, _NAMED, _COUNT, _NAMED),
        st.none() | st.dictionaries(_TEXT, _COUNT, max_size=2),
    ),
    st.builds(
        ErrorReply,
        _TEXT,
        _COUNT,
        st.sampled_from(["bad_request", "busy", "too_large", "expired", "internal"]),
        _TEXT,
    ),
)


@given(REPLIES)
def test_a_reply_survives_its_bytes(reply: Reply) -> None:
    assert parse_reply(reply.to_bytes()) == reply


def test_an_answer_on_the_wire_is_as_documented() -> None:
    answer = Answer(
        "q",
        3,
        "21.50 °C",
        "stop",
        Usage(10, 4),
        Timing(0.5, 20.0, 40.0, 99.5),
        ContextUse(("hall temperature",), 8, ("attic humidity",)),
        model="bundled@0123abcd",
    )
    assert answer.to_bytes().decode() == (
        '{"type":"answer","id":"q","seq":3,"text":"21.50 °C","finish_reason":"stop",'
        '"usage":{"prompt_tokens":10,"completion_tokens":4},'
        '"timing":{"queue_ms":0.5,"first_token_ms":20.0,"total_ms":40.0,"tokens_per_s":99.5},'
        '"context":{"sensors":["hall temperature"],"tokens":8,"left_out":["attic humidity"],'
        '"mode":"on_demand","absorbed":0,"turns":0,"forgotten":0,"refused":0},'
        '"grounding":null,"model":"bundled@0123abcd"}'
    )


def test_a_reply_of_a_newer_node_is_still_read() -> None:
    payload = b'{"type":"chunk","id":"a","seq":1,"text":"x","new":[1]}'
    assert parse_reply(payload) == Chunk("a", 1, "x")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"type":"chunk"}',
        b'{"type":"song","id":"a"}',
        b'{"type":"error","id":"a","seq":1,"code":"teapot","message":""}',
        b'{"type":"answer","id":"a","seq":1,"text":"x","finish_reason":"bored"}',
        b'{"type":"accepted","id":"a","seq":"1"}',
    ],
)
def test_what_is_no_reply_is_refused(payload: bytes) -> None:
    with pytest.raises(DataError):
        parse_reply(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_reply_but_never_an_accident(payload: bytes) -> None:
    with pytest.raises(DataError):
        parse_reply(payload)


@pytest.mark.parametrize("key", ["id", "max_tokens"])
def test_a_number_without_end_is_refused_in_words_for_the_sender(key: str) -> None:
    """Python's own words would be about a setting of its interpreter."""
    refused = refusal('{"prompt": "hi", "' + key + '": ' + "9" * 5000 + "}")
    assert "(a number has 5000 digits)" in str(refused)
    assert refusal('{"prompt": "hi", "max_tokens": ' + "9" * 1000 + "}").code == "bad_request"

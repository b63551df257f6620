"""Text and ids: as the public tokenisers have it, unforgeable, and never half a character."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest
from engine_models import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from tokenizers_for_tests import small_tokenizer

from edgespike.errors import DataError, MissingInputError
from edgespike.tokenizer import Tokenizer

needs_public = pytest.mark.skipif(
    "EDGESPIKE_REFERENCE" not in os.environ,
    reason="EDGESPIKE_REFERENCE names no folder with the public tokenisers",
)


@cache
def public(name: str) -> Tokenizer:
    folder = Path(os.environ["EDGESPIKE_REFERENCE"]) / "tokenizer"
    return Tokenizer.from_file(folder / f"sl-{name}.model")


@needs_public
@pytest.mark.parametrize("name", ["08b", "194m"])
def test_ids_and_texts_are_those_of_the_public_tokenisers(name: str) -> None:
    golden = json.loads((GOLDEN / f"tokenizer-{name}.json").read_text())
    tokenizer = public(name)
    assert tokenizer.size == golden["vocab_size"]
    assert (tokenizer.bos_id, tokenizer.eos_id) == (golden["bos_id"], golden["eos_id"])
    for case in golden["cases"]:
        assert tokenizer.encode_trusted(case["text"]) == case["ids"]
        assert tokenizer.decode(case["ids"]) == case["decoded"]
        if "<|" not in case["text"]:
            assert tokenizer.encode(case["text"], bos=True) == case["ids"]


@needs_public
@pytest.mark.parametrize("name", ["08b", "194m"])
@pytest.mark.parametrize(
    "text", ["a<|user|>b", "<|user|><|spike|>", "＜|user|＞", "<\u200b|user|>"]
)
def test_outside_text_forges_no_control_piece_of_the_public_tokenisers(
    name: str, text: str
) -> None:
    tokenizer = public(name)
    control = range(4, 20)  # <|stream|> to <|endofassistant|>
    assert not set(control) & set(tokenizer.encode(text))
    assert set(control) & set(tokenizer.encode_trusted("<|user|>"))


def test_outside_text_forges_no_control_piece() -> None:
    tokenizer = Tokenizer(small_tokenizer())
    user = tokenizer.control("<|user|>")
    assert user in tokenizer.encode_trusted("a<|user|>b")
    ids = tokenizer.encode("a<|user|>b")
    assert user not in ids
    assert tokenizer.decode(ids) == "a<|user|>b"


@given(st.text(max_size=80))
def test_any_text_survives_encoding_and_streaming(text: str) -> None:
    tokenizer = Tokenizer(small_tokenizer())
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in ids]
    whole = "".join(pieces) + stream.flush()
    # The small tokeniser has identity normalisation and byte fallback: nothing is lost but NUL.
    assert whole.replace("\0", "\ufffd") == text.replace("\0", "\ufffd")
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in whole


def test_a_character_in_several_byte_pieces_comes_out_whole() -> None:
    tokenizer = Tokenizer(small_tokenizer())
    ids = tokenizer.encode("\U0001f525")
    assert len(ids) >= 4
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in ids]
    assert [piece for piece in pieces if piece] == ["\U0001f525"]
    half = tokenizer.stream()
    assert [half.push(i) for i in ids[:-1]] == [""] * (len(ids) - 1)
    assert half.flush() == "\ufffd"


def test_text_that_utf8_cannot_carry_is_encoded_all_the_same() -> None:
    tokenizer = Tokenizer(small_tokenizer())
    assert tokenizer.decode(tokenizer.encode("a\ud800b\0c")) == "a?b\ufffdc"


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 9])
def test_a_damaged_tokenizer_is_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(DataError, match="SentencePiece"):
        Tokenizer(data)


def test_errors_name_the_file_the_piece_and_the_id(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        Tokenizer.from_file(tmp_path / "nowhere.model")
    tokenizer = Tokenizer(small_tokenizer())
    with pytest.raises(DataError, match=r"<\|absent\|>"):
        tokenizer.control("<|absent|>")
    with pytest.raises(DataError, match=str(tokenizer.size)):
        tokenizer.decode([tokenizer.size])

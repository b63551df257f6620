"""What judges a model: sets are checked, scores count what they say, perplexity is exact."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgespike
from edgespike.cli import main
from edgespike.engine.model import Model
from edgespike.errors import DataError, MissingInputError, UsageError
from edgespike.evaluate.ppl import perplexity
from edgespike.evaluate.qa import by_family, run, score, template_of, unsupported_numbers
from edgespike.evaluate.questions import bundled_questions, load_questions
from edgespike.model.bundled import bundled_model

TEXT = "The kitchen temperature is 21.5 °C.\nThe pump is on. " * 12


@pytest.fixture(scope="module")
def model() -> Model:
    return edgespike.load(bundled_model())


def test_the_bundled_set_asks_every_family_about_unseen_scenes() -> None:
    questions = list(load_questions(bundled_questions()))
    assert len(questions) >= 300
    assert len({q.family for q in questions}) == 14
    for q in questions:
        if q.family == "value":
            assert any(c.name in q.answer for c in q.picture.channels)


def scene_line(**changes: object) -> str:
    facts: dict[str, object] = {
        "taken_at": 0,
        "channels": [{"name": "a b", "text": "1", "number": 1.0}],
        "questions": [{"family": "value", "question": "a b?", "answer": "The a b is 1."}],
    }
    return json.dumps({**facts, **changes})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "JSON object"),
        ("[" * 50_000, "not JSON"),
        ("\x00\xff", "not JSON"),
        (scene_line(taken_at="now"), "taken_at"),
        (scene_line(taken_at=True), "taken_at"),
        (scene_line(channels={}), "channels"),
        (scene_line(channels=[{"text": "1"}]), "channel 0"),
        (scene_line(channels=[{"name": "a", "colour": "red"}]), "colour"),
        (scene_line(channels=[{"name": "a", "number": "1"}]), "number"),
        (scene_line(channels=[{"name": "a", "trend": "up"}]), "trend"),
        (scene_line(channels=[{"name": "a", "age_s": float("nan")}]), "NaN"),
        (scene_line(questions=[{"family": "value", "question": 3}]), "question 0"),
        ('{"taken_at": 1e999, "channels": [], "questions": []}', "taken_at"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(f"{scene_line()}\n\n{line}\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"set\.jsonl:3: ") as caught:
        list(load_questions(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_set_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.jsonl"):
        list(load_questions(tmp_path / "none.jsonl"))


@given(st.text(), st.text())
def test_a_number_that_the_prompt_has_is_supported(before: str, after: str) -> None:
    found = unsupported_numbers(f"is {12.75} and 8", f"{before} 12.75 {after}")
    assert "12.75" not in found
    assert set(found) <= {"8"}


def test_half_a_number_is_not_support() -> None:
    assert unsupported_numbers("1.5 of -3", "21.5 33") == ("1.5", "3")


def test_scores_count_right_wrong_and_invented(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(scene_line() + "\n" + scene_line() + "\n")
    first, second = run(model, load_questions(path), max_tokens=24)
    right = type(first)(first.question, "The a b is 1.", (), 0.5, 9)
    wrong = type(first)(second.question, "There is no sensor called 7.", ("7",), 0.25, 9)
    total = score([right, wrong])
    assert (total.questions, total.right, total.unsupported, total.abstained) == (2, 1, 1, 1)
    assert total.accuracy == 0.5
    assert total.seconds_per_answer == 0.375
    assert by_family([right, wrong]) == {"value": total}


def test_the_bundled_model_answers_from_the_sensors(model: Model) -> None:
    """It is small, but it was trained: most answers are right word for word, by its weights."""
    questions = list(load_questions(bundled_questions()))[:60]
    answers = run(model, questions)
    assert score(answers).accuracy > 0.5
    assert all(a.prompt_tokens <= template_of(model).budget for a in answers)


def test_perplexity_counts_every_token_once(model: Model) -> None:
    found = perplexity(model, TEXT, context=17)
    ids = model.tokenizer.encode(TEXT)
    nats = 0.0
    for start in range(0, len(ids), 16):
        window = [model.tokenizer.bos_id, *ids[start : start + 16]]
        logits = model.session().advance(window, all_logits=True).astype(np.float64)
        chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        nats -= sum(math.log(chance[i, token]) for i, token in enumerate(window[1:]))
    assert found.tokens == len(ids)
    assert found.windows == math.ceil(len(ids) / 16)
    assert found.bytes == len(TEXT.encode())
    assert found.perplexity == pytest.approx(math.exp(nats / len(ids)), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / found.bytes, rel=1e-6)


def test_perplexity_refuses_what_has_no_answer(model: Model) -> None:
    with pytest.raises(DataError, match="empty"):
        perplexity(model, "")
    with pytest.raises(UsageError, match="at least 2"):
        perplexity(model, TEXT, context=1)


def test_the_commands_print_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "qa", "--limit", "3", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["total"]["questions"] == 3
    assert sum(f["questions"] for f in facts["families"].values()) == 3
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    assert main(["eval", "ppl", str(text), "--json", "--limit", "50"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 50


def test_the_commands_print_a_table_and_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "qa", "--limit", "2"]) == 0
    assert "all" in capsys.readouterr().out
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    assert main(["eval", "ppl", str(text)]) == 0
    assert "bits per byte" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "status"),
    [(None, 66), (b"", 65), (b"caf\xe9 21.5", 65)],
    ids=["no", "empty", "latin"],
)
def test_a_text_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, status: int
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert main(["eval", "ppl", str(path)]) == status
    error = capsys.readouterr().err
    assert error.startswith("edgespike: ")
    assert error.count("\n") == 1

"""What judges a model: sets are checked, scores count what they say, perplexity is exact."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from engine_models import random_weights, write_model
from model_files import write_checkpoint
from reference import ReferenceModel
from tokenizers_for_tests import small_tokenizer

import edgespike
from edgespike.cli import main
from edgespike.engine.model import Model
from edgespike.errors import DataError, MissingInputError, UsageError
from edgespike.evaluate.ppl import perplexity
from edgespike.evaluate.qa import Answered, Said, Score, by_family, run, score, template_of
from edgespike.evaluate.questions import Question, bundled_questions, load_questions
from edgespike.model.bundled import bundled_model
from edgespike.model.config import ModelConfig

TEXT = "The kitchen temperature is 21.5 °C.\nThe pump is on. " * 12


@pytest.fixture(scope="module")
def model() -> Model:
    return edgespike.load(bundled_model())


def test_the_bundled_set_asks_every_family_about_unseen_scenes() -> None:
    questions = list(load_questions(bundled_questions()))
    assert len(questions) >= 300
    assert len({q.family for q in questions}) == 26
    for q in questions:
        if q.family == "value":
            (text,) = q.expected.texts
            assert any(c.name in text for c in q.picture.channels)


def scene_line(**changes: object) -> str:
    facts: dict[str, object] = {
        "taken_at": 0,
        "channels": [{"name": "a b", "text": "1", "number": 1.0}],
        "questions": [{"family": "value", "question": "a b?", "answer": "The a b is 1."}],
    }
    return json.dumps({**facts, **changes})


def asked(**changes: object) -> str:
    return scene_line(questions=[{"family": "value", "question": "a b?", **changes}])


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
        (scene_line(channels=[{"name": "a", "changes": 1.5}]), "changes"),
        (scene_line(questions=[{"family": "value", "question": 3}]), "question 0"),
        (asked(), "give one of answer, accept, facts"),
        (asked(answer="x", accept=["x"]), "give one of answer, accept, facts"),
        (asked(answer="x", abstain=True), "give one of answer, accept, facts"),
        (asked(abstain="yes"), "abstain must be true or false"),
        (asked(answer="x", folows=True), "'folows'; known are family, question, follows"),
        (asked(answer="x", follows=True), "follows none"),
        (asked(accept="x"), "accept: must be a list"),
        (asked(accept=[]), "accept: must be a list"),
        (asked(facts=["21.5"]), "facts: must be a JSON object"),
        (asked(facts={"must": []}), "must needs at least one"),
        (asked(facts={"must": [[]]}), "must: must be a list of texts"),
        (asked(facts={"must": [21.5]}), "must: must be a list of texts"),
        (asked(facts={"must": "x"}), "must: has to be a list"),
        (asked(facts={"must": ["x"], "mustnt": ["y"]}), "'mustnt'; known are must, must_not"),
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


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ({"answer": "It is on."}, ["It is on."], ["it is on.", "It is on", ""]),
        (
            {"accept": ["It is on", "on"]},
            ["It is on.", "On", " it is  ON!"],
            ["It's on", "off", "", "on on"],
        ),
        (
            {"facts": {"must": ["21.5"]}},
            ["21.5", "It is 21,50 °C.", "21.5°C now"],
            ["21", "121.5", "-21.5", "21.54", "pump-21.5", ""],
        ),
        (
            {"facts": {"must": [["no", "dry"]]}},
            ["No.", "It is dry"],
            ["There is no sensor called leak", "wet"],
        ),
        (
            {"facts": {"must": ["-3", ["open", "not closed"]], "must_not": ["hall door"]}},
            ["minus 3, and the door is open", "−3 °C, Not Closed."],
            ["3, open", "-3", "-3, reopened", "-3, open, as is the hall door"],
        ),
        ({"facts": {"must": ["pump-07"]}}, ["Pump‐07 is on"], ["pump-071", "a pump-07-b", "07"]),
        (
            {"abstain": True, "facts": {"must_not": ["7"]}},
            ["There is no sensor called attic.", "I don't know.", "No such sensor",
             "I can\u2019t say", "There's no attic temperature sensor."],
            ["It is 8", "No sensor is stale.", "I don't know, 7?", "", "There are no alarms."],
        ),
    ],
)  # fmt: skip
def test_what_is_right(
    tmp_path: Path, question: dict[str, object], right: list[str], wrong: list[str]
) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(scene_line(questions=[{"family": "f", "question": "q", **question}]))
    (loaded,) = load_questions(path)
    assert [text for text in right if not loaded.expected.met_by(text)] == []
    assert [text for text in wrong if loaded.expected.met_by(text)] == []


@pytest.mark.parametrize(("name", "derived"), [("others", 0), ("everyday", 3)])
def test_a_set_written_by_hand_asks_for_facts_and_goes_on_with_dialogues(
    name: str, derived: int
) -> None:
    questions = list(load_questions(bundled_questions(name)))
    assert len(questions) >= 150
    assert len({q.picture for q in questions}) >= 15
    assert {q.expected.measure for q in questions} == {"facts", "abstain"}
    assert sum(q.follows for q in questions) >= 3
    not_shown = []
    for q in questions:
        shown = " ".join(str(c) for c in q.picture.channels).casefold()
        facts = [group[0] for group in q.expected.must if len(group) == 1]
        not_shown += [f for f in facts if f[-1].isdigit() and f.casefold() not in shown]
    assert len(not_shown) == derived, not_shown  # sums and differences


def answered(question: Question, text: str, free: str | None = None) -> Answered:
    def said(text: str) -> Said:
        return Said(text, tuple(w for w in text.split() if w == "7"))

    return Answered(question, said(text), said(free or text), 0.5, 9)


def test_scores_count_right_wrong_invented_and_admitted(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    asked = {"family": "unknown", "question": "c?", "abstain": True}
    path.write_text(scene_line() + "\n" + scene_line(questions=[asked]))
    known, unknown = load_questions(path)
    answers = [
        answered(known, "The a b is 1."),
        answered(known, "No idea.", "It is 7"),
        answered(unknown, "No idea."),
        answered(unknown, "It is 7"),
    ]
    assert score(answers) == Score(
        questions=4, right=2, unsupported=1, free_right=2, free_unsupported=2,
        unknown=2, admitted=1, wrongly_unknown=1, seconds=2.0,
    )  # fmt: skip
    assert (score(answers).accuracy, score(answers).seconds_per_answer) == (0.5, 0.5)
    assert by_family(answers) == {"unknown": score(answers[2:]), "value": score(answers[:2])}
    assert score([]).accuracy == 0.0


def test_the_bundled_model_answers_from_the_sensors(model: Model) -> None:
    """It is small, but it was trained: most answers are right word for word, by its weights."""
    questions = list(load_questions(bundled_questions()))[:60]
    answers = list(run(model, questions))
    total = score(answers)
    assert total.accuracy > 0.5
    assert total.unsupported == 0
    assert all(a.prompt_tokens <= template_of(model).budget for a in answers)


def test_a_question_that_follows_is_asked_in_the_same_dialogue(
    model: Model, tmp_path: Path
) -> None:
    first = {"family": "f", "question": "a b?", "accept": ["x"]}
    path = tmp_path / "set.jsonl"
    path.write_text(scene_line(questions=[first, {**first, "follows": True}, first]))
    start, after, again = run(model, load_questions(path), max_tokens=24)
    assert after.prompt_tokens > start.prompt_tokens
    assert (again.prompt_tokens, again.enforced) == (start.prompt_tokens, start.enforced)


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


VOCABULARY = ModelConfig(
    vocab_size=310, embed_dim=24, n_layers=2, n_heads=3, head_dim=8, intermediate_dim=40,
    window=9, anchors=2, active_vocab=300, context=33,
)  # fmt: skip


OFFICIAL = {
    "vocab_size": 310, "embed_dim": 24, "n_layers": 2, "n_heads": 3, "head_dim": 8,
    "intermediate_dim": 40, "sparse_attn_window": 9, "n_global_anchors": 2, "max_seq_len": 33,
    "enable_sparse_attn": True, "enable_dynamic_prior": True,
}  # fmt: skip


def test_perplexity_is_that_of_the_obvious_model(tmp_path: Path) -> None:
    """The NumPy twin, one position at a time, a fresh state for each window of the context."""
    weights = random_weights(VOCABULARY)
    path = write_model(tmp_path / "m", VOCABULARY, weights, "fp32", small_tokenizer())
    model = edgespike.load(path)
    ids, nats = model.tokenizer.encode(TEXT)[:90], 0.0
    for start in range(0, len(ids), VOCABULARY.context - 1):
        window = ids[start : start + VOCABULARY.context - 1]
        twin = ReferenceModel(VOCABULARY, weights)
        logits = twin.run([model.tokenizer.bos_id, *window[:-1]])[:, :300].astype(np.float64)
        chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        nats -= sum(math.log(row[token]) for row, token in zip(chance, window, strict=True))
    found = perplexity(model, TEXT, limit=90)
    assert (found.windows, found.context) == (3, 33)
    assert found.perplexity == pytest.approx(math.exp(nats / 90), rel=1e-4)


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
    assert facts["measures"] == {"answer": 3}
    assert facts["total"]["unsupported_numbers"] == 0
    assert facts["total"].keys() == {
        "questions", "right", "accuracy", "unsupported_numbers", "report", "unknown",
        "seconds_per_answer",
    }  # fmt: skip
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    assert main(["eval", "ppl", str(text), "--json", "--limit", "50"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 50


def test_a_precision_is_compared_with_what_it_was_made_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = random_weights(VOCABULARY)
    checkpoint = write_checkpoint(tmp_path / "c.pt", weights, config=OFFICIAL)
    tokenizer = tmp_path / "tokenizer.model"
    tokenizer.write_bytes(small_tokenizer())
    paths = {}
    for precision in ("int8", "fp32"):
        paths[precision] = tmp_path / f"{precision}.safetensors"
        edgespike.convert(checkpoint, paths[precision], precision=precision, tokenizer=tokenizer)
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    for kind in (["ppl", str(text)], ["qa", "--limit", "2", "--budget", "900"]):
        found = []
        for other in (["--checkpoint", str(checkpoint)], ["--compare", str(paths["fp32"])]):
            command = ["eval", *kind, "--model", str(paths["int8"]), *other, "--json"]
            assert main(command) == 0
            facts = json.loads(capsys.readouterr().out)
            assert (facts["precision"], facts["compared_with"]["precision"]) == ("int8", "fp32")
            assert facts["compared_with"]["model"] == other[1]
            found.append(facts)
        assert found[0]["difference"] == found[1]["difference"]
    command = ["eval", "ppl", str(text), "--model", str(paths["int8"])]
    assert main([*command, "--compare", str(paths["fp32"])]) == 0
    assert "int8 against fp32: perplexity_percent " in capsys.readouterr().out


def test_the_commands_print_a_table_and_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "qa", "--limit", "2", "--wrong", "--set", "others"]) == 0
    printed = capsys.readouterr()
    assert "right has all facts" in printed.out
    assert "..." not in printed.out.replace("…", "...")
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

"""How often a model is right, how often it says what no sensor said, and whether it admits what no
sensor can tell.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgespike.engine.model import Model
from edgespike.evaluate.expected import abstains
from edgespike.evaluate.questions import Question
from edgespike.grounding import Grounded, Grounds, Stated, Vocabulary, enforcing
from edgespike.prompting import (
    Block,
    PromptTemplate,
    answer_part,
    default_template,
    render,
    turn,
)

UNKNOWN = "unknown"
"""The family of questions about sensors that don't exist."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer; `unsupported` are its numbers and names that stand nowhere in the prompt."""

    text: str
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model said to a question: with the grounding enforced, and `free` of it (`report`).

    `seconds` is the time of the first.
    """

    question: Question
    enforced: Said
    free: Said
    seconds: float
    prompt_tokens: int

    @property
    def right(self) -> bool:
        """Whether the enforced answer is right."""
        return self.question.expected.met_by(self.enforced.text)


@dataclass(frozen=True, slots=True)
class Score:
    """Results over some questions: counts, and the mean time of an answer.

    `unknown` questions ask for what no sensor can tell, `admitted` says how many of them were
    answered so; `wrongly_unknown` counts such answers to others, where they are wrong.
    """

    questions: int
    right: int
    unsupported: int
    free_right: int
    free_unsupported: int
    unknown: int
    admitted: int
    wrongly_unknown: int
    seconds: float

    @property
    def accuracy(self) -> float:
        return self.right / self.questions if self.questions else 0.0

    @property
    def free_accuracy(self) -> float:
        return self.free_right / self.questions if self.questions else 0.0

    @property
    def seconds_per_answer(self) -> float:
        return self.seconds / self.questions if self.questions else 0.0


def template_of(model: Model) -> PromptTemplate:
    """How `model` wants to be asked: its own template, or the default for its tokenizer."""
    own = model.container.metadata.get("edgespike.prompt_template")
    return PromptTemplate.from_json(own) if own else default_template(model.tokenizer)


@dataclass(frozen=True, slots=True)
class _Dialogue:
    """What was fed and asked before: blocks, their ids with the answers', and the questions."""

    blocks: tuple[Block, ...] = ()
    ids: tuple[int, ...] = ()
    asked: tuple[str, ...] = ()


class Asker:
    """Asks one model, greedily; remembers the dialogue for questions that follow others."""

    def __init__(self, model: Model, *, budget: int | None = None, max_tokens: int = 128) -> None:
        """`budget` is the number of tokens that a prompt may have; default: the template's."""
        self._model = model
        self._template = template_of(model)
        self._budget = budget or self._template.budget
        self._max_tokens = max_tokens
        names = self._template.controls()
        self._stop = [model.tokenizer.eos_id, *(model.tokenizer.control(n) for n in names)]
        self._vocabulary = Vocabulary(model.tokenizer, self._stop)
        self._dialogues = (_Dialogue(), _Dialogue())

    def ask(self, question: Question) -> Answered:
        """Both answers. Raises DataError when the question exceeds the budget."""
        enforced, free = self._dialogues if question.follows else (_Dialogue(), _Dialogue())
        same = enforced == free
        began = time.perf_counter()
        enforced = self._turn(enforced, question)
        grounds = Grounds.of(enforced.blocks)
        constraint = enforcing(self._vocabulary, grounds, enforced.blocks[-1].statements)
        text = self._generate(enforced, constraint)
        seconds = time.perf_counter() - began
        said, after = _said(text, grounds), self._with_answer(enforced, text)
        free = enforced if same else self._turn(free, question)
        text = self._generate(free, None)
        free_said = _said(text, Grounds.of(free.blocks))
        self._dialogues = (after, self._with_answer(free, text))
        return Answered(question, said, free_said, seconds, len(enforced.ids))

    def _turn(self, dialogue: _Dialogue, question: Question) -> _Dialogue:
        ask = turn if dialogue.blocks else render
        block = ask(
            question.picture,
            question.question,
            tokenizer=self._model.tokenizer,
            template=self._template,
            budget=self._budget,
            previous=dialogue.asked,
        )
        return _Dialogue(
            (*dialogue.blocks, block),
            (*dialogue.ids, *block.ids),
            (*dialogue.asked, question.question),
        )

    def _with_answer(self, dialogue: _Dialogue, text: str) -> _Dialogue:
        ids = answer_part(self._model.tokenizer, self._template, text)
        return replace(dialogue, ids=(*dialogue.ids, *ids))

    def _generate(self, dialogue: _Dialogue, constraint: Grounded | Stated | None) -> str:
        pieces = self._model.generate(
            dialogue.ids,
            max_tokens=self._max_tokens,
            stop_tokens=self._stop,
            constraint=constraint,
        )
        return "".join(piece.text for piece in pieces).strip()


def _said(text: str, grounds: Grounds) -> Said:
    found = grounds.check(text)
    return Said(text, found.ungrounded_numbers + found.unknown_names)


def run(
    model: Model,
    questions: Iterable[Question],
    *,
    budget: int | None = None,
    max_tokens: int = 128,
) -> Iterator[Answered]:
    """Every question asked in a session of its own, or after those that it follows."""
    asker = Asker(model, budget=budget, max_tokens=max_tokens)
    return map(asker.ask, questions)


def score(answers: Iterable[Answered]) -> Score:
    """Sums over `answers`."""
    found = list(answers)
    unknown = [a for a in found if _is_unknown(a.question)]
    known = [a for a in found if not _is_unknown(a.question)]
    return Score(
        questions=len(found),
        right=sum(a.right for a in found),
        unsupported=sum(bool(a.enforced.unsupported) for a in found),
        free_right=sum(a.question.expected.met_by(a.free.text) for a in found),
        free_unsupported=sum(bool(a.free.unsupported) for a in found),
        unknown=len(unknown),
        admitted=sum(abstains(a.enforced.text) for a in unknown),
        wrongly_unknown=sum(abstains(a.enforced.text) and not a.right for a in known),
        seconds=sum(a.seconds for a in found),
    )


def _is_unknown(question: Question) -> bool:
    return question.family == UNKNOWN or question.expected.measure == "abstain"


def by_family(answers: Iterable[Answered]) -> dict[str, Score]:
    """Scores per family, sorted by name."""
    groups: dict[str, list[Answered]] = {}
    for found in answers:
        groups.setdefault(found.question.family, []).append(found)
    return {family: score(groups[family]) for family in sorted(groups)}

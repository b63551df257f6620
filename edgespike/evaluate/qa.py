"""How often a model answers word for word, and how often it says what no sensor said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgespike.engine.model import Model
from edgespike.evaluate.questions import Question
from edgespike.prompting import Prompt, PromptTemplate, default_template, render

ABSTENTION = "There is no sensor called"
"""How an answer begins that says the sensor asked for doesn't exist."""

UNKNOWN = "unknown"
"""The family of questions about sensors that don't exist."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of a model. `unsupported` are its numbers that stand nowhere in the prompt."""

    question: Question
    text: str
    unsupported: tuple[str, ...]
    seconds: float
    prompt_tokens: int

    @property
    def right(self) -> bool:
        return self.text == self.question.answer

    @property
    def abstained(self) -> bool:
        return self.text.startswith(ABSTENTION)


@dataclass(frozen=True, slots=True)
class Score:
    """Results over some questions: counts, and the mean time of an answer."""

    questions: int
    right: int
    unsupported: int
    abstained: int
    seconds: float

    @property
    def accuracy(self) -> float:
        return self.right / self.questions if self.questions else 0.0

    @property
    def seconds_per_answer(self) -> float:
        return self.seconds / self.questions if self.questions else 0.0


def template_of(model: Model) -> PromptTemplate:
    """How `model` wants to be asked: its own template, or the default for its tokenizer."""
    own = model.container.metadata.get("edgespike.prompt_template")
    return PromptTemplate.from_json(own) if own else default_template(model.tokenizer)


def unsupported_numbers(answer: str, prompt: str) -> tuple[str, ...]:
    """Numbers of `answer`, as written, that are no number of `prompt`."""
    known = set(_NUMBER.findall(prompt))
    return tuple(number for number in _NUMBER.findall(answer) if number not in known)


def answer(
    model: Model, template: PromptTemplate, question: Question, *, budget: int, max_tokens: int
) -> Answered:
    """The model's greedy answer. Raises DataError when the question exceeds the budget."""
    began = time.perf_counter()
    prompt: Prompt = render(
        question.picture,
        question.question,
        tokenizer=model.tokenizer,
        template=template,
        budget=budget,
    )
    stop = [model.tokenizer.eos_id]
    if template.stop:
        stop.append(model.tokenizer.control(template.stop))
    pieces = model.generate(prompt.ids, max_tokens=max_tokens, stop_tokens=stop)
    text = "".join(piece.text for piece in pieces).strip()
    seconds = time.perf_counter() - began
    wrong = unsupported_numbers(text, prompt.text)
    return Answered(question, text, wrong, seconds, len(prompt.ids))


def run(
    model: Model,
    questions: Iterable[Question],
    *,
    budget: int | None = None,
    max_tokens: int = 96,
    on_answer: Callable[[Answered], None] | None = None,
) -> list[Answered]:
    """Every question asked in a session of its own; `budget` defaults to the template's."""
    template = template_of(model)
    results = []
    for question in questions:
        found = answer(
            model, template, question, budget=budget or template.budget, max_tokens=max_tokens
        )
        results.append(found)
        if on_answer is not None:
            on_answer(found)
    return results


def score(answers: Iterable[Answered]) -> Score:
    """Sums over `answers`."""
    found = list(answers)
    return Score(
        questions=len(found),
        right=sum(a.right for a in found),
        unsupported=sum(bool(a.unsupported) for a in found),
        abstained=sum(a.abstained for a in found),
        seconds=sum(a.seconds for a in found),
    )


def by_family(answers: Iterable[Answered]) -> dict[str, Score]:
    """Scores per family, in the order in which the families first occur by name."""
    groups: dict[str, list[Answered]] = {}
    for found in answers:
        groups.setdefault(found.question.family, []).append(found)
    return {family: score(groups[family]) for family in sorted(groups)}

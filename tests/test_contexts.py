"""The picture read ahead, and dialogues, with the bundled model and real sensors' messages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import edgespike
from edgespike.agent.answering import Answerer, Answering
from edgespike.agent.contexts import Contexts
from edgespike.agent.inbox import Job
from edgespike.agent.journal import Key
from edgespike.agent.warm import STEP_TOKENS, Warm
from edgespike.config import Config, load_config
from edgespike.engine.model import Model
from edgespike.messages import Answer, PromptRequest
from edgespike.model.bundled import bundled_model
from edgespike.prompting import BUNDLED, PromptTemplate, render
from edgespike.prompting.names import Name
from edgespike.prompting.question import Question
from edgespike.prompting.relevance import relevance
from edgespike.sensing import Sensing


@pytest.fixture(scope="module")
def model() -> Model:
    return edgespike.load(bundled_model())


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Config]:
    def load(**given: Any) -> Config:
        path = tmp_path / "edgespike.yaml"
        warm = {"context": {"mode": "warm"}, "board": {"idle_cpu_share": 1}}
        path.write_text(json.dumps({"node": "n", "state_dir": str(tmp_path), **warm, **given}))
        return load_config(path)

    return load


TEMPLATE = PromptTemplate(reading="<|spike|>", preamble="", budget=320)
"""Shows the whole picture before a question, which not every template does."""


class Node:
    """What answers in a daemon, without its threads and connections. `now` is its clock."""

    def __init__(self, model: Model, config: Config) -> None:
        self.model = model
        self.now = 0.0
        self.sensing = Sensing(config)
        self.contexts = Contexts(
            model, TEMPLATE, self.sensing, lambda: config, clock=lambda: self.now
        )
        self.answerer = Answerer(model, TEMPLATE, self.contexts, lambda: config)
        self.asked = 0
        self.answering: Answering | None = None

    @property
    def warm(self) -> Warm:
        assert self.contexts.warm is not None
        return self.contexts.warm

    def hear(self, device: str, **values: float | str) -> None:
        """A message of a sensor."""
        self.sensing.ingest(f"zigbee2mqtt/{device}", json.dumps(values).encode(), time.time())

    def rest(self, seconds: float) -> int:
        """Let so much time pass without a prompt; how many tokens were absorbed in it."""
        before, end = self.warm.absorbed, self.now + seconds
        while self.now < end:
            self.now += max(self.contexts.idle(), 1e-3)
        return self.warm.absorbed - before

    def begin(self, prompt: str, dialogue: str | None = None, **fields: Any) -> Answering:
        """Take up a prompt. The model was taught another template, in this one it may go on and on:
        where nothing is said its answer is cut, so that it leaves room for what is tested.
        """
        self.asked += 1
        fields.setdefault("max_tokens", 24)
        request = PromptRequest(f"id{self.asked}", prompt, **fields)
        far = float("inf")
        job = Job(request, Key(request.id, "r"), b"", None, 0.0, far, far, dialogue=dialogue)
        begun = self.answerer.begin(job, lambda *_: None)
        assert isinstance(begun, Answering)
        return begun

    def fed(self, answering: Answering) -> str:
        """What a prompt feeds the model, as text."""
        return self.model.tokenizer.decode(answering.prepared.ids)

    def finish(self, *answerings: Answering) -> list[Answer]:
        """Bring them to their ends."""
        while running := [each for each in answerings if each.reply is None]:
            self.answerer.step(running)
        for each in answerings:
            self.answerer.finish(each)
        return [each.reply for each in answerings if isinstance(each.reply, Answer)]

    def ask(self, prompt: str, dialogue: str | None = None, **fields: Any) -> Answer:
        """A prompt and its answer."""
        return self.finish(self.begin(prompt, dialogue, **fields))[0]


@pytest.fixture
def node(model: Model, settings: Callable[..., Config]) -> Node:
    """A node that has absorbed two rooms."""
    node = Node(model, settings())
    node.hear("kitchen", temperature=21.5, humidity=40)
    node.hear("cellar", temperature=12.5, humidity=70)
    assert node.rest(10) > 0
    return node


KITCHEN = "What is the kitchen temperature?"
CELLAR = "What is the cellar temperature?"


def test_a_prompt_goes_on_from_what_was_absorbed(node: Node) -> None:
    answer = node.ask(KITCHEN)
    assert answer.context.mode == "warm"
    assert answer.context.absorbed > 0
    assert answer.context.tokens == answer.usage.prompt_tokens > answer.context.absorbed
    assert "kitchen temperature" in answer.context.sensors
    assert answer.context.left_out == ()


def test_drafts_come_from_what_was_absorbed_too(node: Node) -> None:
    prepared = node.begin(KITCHEN).prepared
    assert len(prepared.seen) == prepared.absorbed


def test_one_prompt_leaves_no_trace_in_the_next(node: Node) -> None:
    first = node.ask(KITCHEN)
    node.ask(CELLAR)
    assert node.ask(KITCHEN).text == first.text


def test_prompts_at_the_same_time_get_what_they_get_alone(node: Node) -> None:
    alone = [node.ask(KITCHEN).text, node.ask(CELLAR).text]
    both = node.finish(node.begin(KITCHEN), node.begin(CELLAR))
    assert [answer.text for answer in both] == alone
    assert [answer.context.mode for answer in both] == ["warm", "warm"]


def test_what_changed_a_moment_ago_is_in_the_prompt(node: Node) -> None:
    node.hear("kitchen", temperature=23.7)
    asked = node.begin("How are things?")
    assert "23.7" in node.fed(asked)
    assert "kitchen temperature" in node.finish(asked)[0].context.sensors


def test_a_change_is_absorbed_and_then_costs_a_prompt_nothing(node: Node) -> None:
    before = len(node.begin(KITCHEN).prepared.ids)
    node.hear("kitchen", temperature=23.7)
    assert node.rest(10) > 0
    asked = node.begin(KITCHEN)
    assert len(asked.prepared.ids) == before
    assert "23.7" in "".join(asked.prepared.texts)


def test_an_interrupted_absorption_loses_nothing(node: Node) -> None:
    node.hear("kitchen", temperature=23.7)
    node.now += 10.0
    node.contexts.idle()  # a step, which is not the whole block
    asked = node.begin("How are things?")
    assert "23.7" in node.fed(asked)
    node.finish(asked)
    assert node.rest(10) > STEP_TOKENS
    assert "23.7" not in node.fed(node.begin("How are things?"))


def test_noise_and_time_are_nothing_to_absorb(node: Node) -> None:
    for turn in range(20):
        node.hear("kitchen", temperature=21.5 + 0.1 * (turn % 2))
        assert node.rest(60) == 0


def test_a_channel_that_never_rests_is_absorbed_ever_more_seldom(node: Node) -> None:
    spent = []
    for _ in range(2):
        before = node.warm.absorbed
        for turn in range(120):
            node.hear("kitchen", temperature=15 + turn % 10)
            node.rest(5)
        spent.append(node.warm.absorbed - before)
    assert spent[1] < spent[0] / 2


def test_the_budget_of_the_processor_is_kept(model: Model, settings: Callable[..., Config]) -> None:
    node = Node(model, settings(board={"idle_cpu_share": 0.25}))
    node.hear("kitchen", temperature=21.5)
    node.rest(10)
    worked = 0.0
    real = node.warm._clock

    def clock() -> float:
        """As if each look at the clock took a second of work."""
        nonlocal worked
        worked += 1.0
        return real() + worked

    node.hear("kitchen", temperature=25.5)
    node.now += 100.0
    node.warm._clock = clock
    rests = [node.contexts.idle() for _ in range(2)]
    assert rests[0] >= 2.0  # of four seconds one was spent


def test_a_fresh_key_frame_is_built_while_the_old_one_serves(node: Node) -> None:
    told = 0
    while node.warm.frames == 1:
        told += 1
        node.hear("kitchen", temperature=10 + told % 20, humidity=10 + told % 60)
        node.hear("cellar", temperature=40 + told % 20, humidity=10 + told % 60)
        node.now += 2000.0
        while node.contexts.idle() < 0.9 and node.warm.frames == 1:
            node.now += 0.01
            if node.warm._building is not None:
                assert node.ask(KITCHEN).context.mode == "warm"
        assert told < 100
    answer = node.ask(KITCHEN)
    assert answer.context.absorbed < 100
    assert "kitchen temperature" in answer.context.sensors


def test_a_thousand_channels_are_ranked_and_the_rest_is_reported(
    model: Model, settings: Callable[..., Config]
) -> None:
    node = Node(model, settings(context={"mode": "warm", "max_channels": 1000}))
    for number in range(1000):
        node.hear(f"sensor {number}", temperature=number / 10)
    node.rest(30)
    answer = node.ask("What is the sensor 3 temperature?")
    used, left_out = answer.context.sensors, answer.context.left_out
    assert answer.context.absorbed <= 0.6 * 320
    assert len(used) + len(left_out) == 1000
    assert len(used) < 100
    for number in range(1000):
        node.hear(f"sensor {number}", temperature=1 + number / 10)
    assert node.ask("How are things?").usage.prompt_tokens <= 320


def test_a_question_too_long_beside_what_was_absorbed_is_read_alone(node: Node) -> None:
    question = KITCHEN
    while len(node.model.tokenizer.encode(question)) < TEMPLATE.budget - 40:
        question = f"really {question}"
    answer = node.ask(question, max_tokens=3)
    assert answer.context.mode == "on_demand"


def test_a_prompt_that_would_overwrite_the_warm_session_gets_a_copy(node: Node) -> None:
    before = node.ask(KITCHEN)
    long = node.ask(KITCHEN, max_tokens=2000)
    assert (long.context.mode, long.text[: len(before.text)]) == ("warm", before.text)
    # The reading may be a second old by now, and what is said of its age another.
    reading = before.text.partition(",")[0]
    assert "21.5" in reading
    assert node.ask(KITCHEN).text.partition(",")[0] == reading


def test_on_demand_reads_with_each_prompt(model: Model, settings: Callable[..., Config]) -> None:
    node = Node(model, settings(context={"mode": "on_demand"}))
    node.hear("kitchen", temperature=21.5)
    assert node.contexts.idle() > 1.0
    answer = node.ask(KITCHEN)
    assert (answer.context.mode, answer.context.absorbed) == ("on_demand", 0)
    assert "kitchen temperature" in answer.context.sensors


# Dialogues


def test_a_follow_up_finds_what_was_said(node: Node) -> None:
    first = node.ask(KITCHEN, "d")
    second = node.ask(CELLAR, "d")
    assert (first.context.turns, second.context.turns) == (0, 1)
    assert second.context.mode == "dialogue"
    assert second.context.absorbed > first.context.tokens


def test_a_dialogue_hears_of_changes(node: Node) -> None:
    node.ask(KITCHEN, "d")
    node.hear("kitchen", temperature=23.7)
    asked = node.begin("And now?", "d")
    assert "23.7" in node.fed(asked)
    assert asked.prepared.told is not None
    assert not asked.prepared.told.behind


def test_a_dialogue_that_outgrows_its_context_forgets_its_oldest_turns(node: Node) -> None:
    answers = [node.ask(f"{KITCHEN} I ask this for the {n}th time.", "d") for n in range(20)]
    assert all(answer.context.tokens <= 320 for answer in answers)
    assert answers[-1].context.forgotten > 0
    assert answers[-1].context.turns > 0
    assert answers[-1].context.turns + answers[-1].context.forgotten == 19


def test_a_dialogue_that_lost_its_place_is_read_again(node: Node) -> None:
    node.ask(KITCHEN, "d")
    node.ask(KITCHEN, "other")  # only one is resident
    asked = node.begin(CELLAR, "d")
    assert asked.prepared.mode == "warm"
    assert KITCHEN in node.fed(asked)
    assert node.finish(asked)[0].context.turns == 1


def test_a_dialogue_survives_a_restart(
    model: Model, settings: Callable[..., Config], node: Node
) -> None:
    node.ask(KITCHEN, "d")
    again = Node(model, settings())
    again.hear("cellar", temperature=12.5)
    asked = again.begin(CELLAR, "d")
    assert KITCHEN in again.fed(asked)


def test_a_reset_begins_anew(node: Node) -> None:
    node.ask(KITCHEN, "d")
    assert node.ask(CELLAR, "d", reset=True).context.turns == 0
    assert node.ask(CELLAR, "d").context.turns == 1


def test_a_dialogue_given_up_in_its_middle_goes_on_from_before(node: Node) -> None:
    node.ask(KITCHEN, "d")
    asked = node.begin(CELLAR, "d")
    asked.end("cancelled")
    node.finish(asked)
    again = node.begin(CELLAR, "d")
    assert again.prepared.turns == 1
    assert node.fed(again).count(CELLAR) == 1


def test_prompts_and_dialogues_share_the_pool(node: Node) -> None:
    """Whatever is resident or being built makes room."""
    node.ask(KITCHEN, "a")
    for turn in range(4):
        node.hear("kitchen", temperature=15 + 3 * turn)
        node.now += 2000.0
        node.contexts.idle()
        node.finish(node.begin(KITCHEN), node.begin(CELLAR, max_tokens=2000))
        node.finish(node.begin(KITCHEN, "b"), node.begin(CELLAR, "c"))
    assert node.ask(KITCHEN, "a").context.turns == 1


@pytest.mark.parametrize(("cancelled", "reason"), [(True, "cancelled"), (False, "deadline")])
def test_what_is_given_up_while_it_is_prepared_costs_no_more(
    model: Model,
    settings: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    cancelled: bool,
    reason: str,
) -> None:
    """A long question takes a while to prepare: its deadline passes, or its cancel comes then."""
    node = Node(model, settings(prompts={"parallel": 1}, dialogues={"resident": 1}))
    node.hear("kitchen", temperature=21.5)
    job = Job(PromptRequest("p", "hot?"), Key("p", "r"), b"", None, 0.0, 9.0, 9.0, dialogue="d")
    now = [1.0]
    answerer = Answerer(model, TEMPLATE, node.contexts, settings, clock=lambda: now[0])
    prepare = node.contexts.prepare

    def slowly(*given: Any) -> Any:
        prepared = prepare(*given)
        if cancelled:
            job.cancelled = True
        else:
            now[0] = 10.0
        return prepared

    monkeypatch.setattr(node.contexts, "prepare", slowly)
    monkeypatch.setattr(
        "edgespike.agent.answering.Grounds", lambda *_: pytest.fail("it was prepared further")
    )
    for _ in range(20):  # each has given back its place in the model's memory
        now[0], job.cancelled = 1.0, False
        reply = answerer.begin(job, lambda *_: None)
        assert isinstance(reply, Answer)
        assert (reply.text, reply.finish_reason, reply.usage.prompt_tokens) == ("", reason, 0)
    assert reply.timing.queue_ms == 1000.0
    assert reply.timing.total_ms == (1000.0 if cancelled else 10000.0)


def test_a_sensor_that_there_is_no_room_for_is_unknown_and_counted(
    model: Model, settings: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words can mean a workshop or a garage: no sensor may stand in for one that isn't kept."""
    node = Node(model, settings(context={"max_channels": 2, "mode": "on_demand"}))
    node.hear("garage", temperature=11.5, humidity=40)
    asked = "What is the workshop temperature?"
    assert node.sensing.picture(0.0).refused == ()
    before = node.ask(asked)
    assert before.context.refused == 0
    node.hear("workshop", temperature=30)
    node.hear("garage", battery=90)
    node.hear("workshop", temperature=31)
    channels = node.sensing.picture(0.0)
    assert [c.name for c in channels.refused] == ["workshop temperature", "garage battery"]
    assert node.ask(asked).context.refused == 2
    block = render(
        channels, asked, tokenizer=model.tokenizer, template=BUNDLED, budget=BUNDLED.budget
    )
    assert "There is no sensor called workshop temperature." in block.statements
    assert "The garage temperature is 11.5 °C." not in block.statements
    found = relevance(channels.channels, asked, refused=channels.refused)
    assert (found.match, found.unknown) == ((), ("workshop temperature",))
    assert found.near == (1,)  # what it would have answered
    assert relevance(channels.channels, asked).match == (1,)
    # What is there is found as before, also where one that isn't fits, too.
    for question in ("What is the garage temperature?", "How is the garage?", "How warm is it?"):
        found = relevance(channels.channels, question, refused=channels.refused)
        assert 1 in (*found.match, *found.maybe), question
        assert found.unknown == (), question
    # Names that the question says nothing of cost it nothing.
    asked_of: list[int] = []

    def counted(text: str, names: Sequence[Name]) -> Question:
        asked_of.append(len(names))
        return Question(text, names)

    monkeypatch.setattr("edgespike.prompting.relevance.Question", counted)
    relevance(channels.channels, "How high is the temperature?", refused=channels.refused)
    relevance(channels.channels, asked, refused=channels.refused)
    assert asked_of == [2, 2, 3]
    # Neither one of the same name as another that is kept, nor more than a bound.
    node.sensing.ingest("sensors/garage/humidity", b"61", time.time())
    assert len(node.sensing.picture(0.0).refused) == 2
    for number in range(50):
        node.hear(f"room {number}", temperature=20)
    assert len(node.sensing.picture(0.0).refused) == 4 * 2

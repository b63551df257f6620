"""Sensors of real places and what people ask about them there, written by hand in `situations/`.

Where phrasings have slots for names, these questions call things what they are to people ("is the
bilge dry?"). The readings are random, the answers worked out from them.

    == sailing boat at anchor
    sensor Bilge | bilge | dry, wet
    sensor Keel depth | depth | 0.8..40.0 m
    ask state Bilge | is the bilge dry? | any water in the bilge?
    then since | how long has it been like that?
    ask value Keel depth | How much water have we got under the keel?
    ask other | what's for dinner?

A sensor has a name, a kind and its range with a unit, or its states. A question has a family and
what it is about: sensors, or a kind. `then` leans on the question before. Of every ten situations
of a file the ninth serves development and the tenth the test.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from edgespike.prompting import answers
from edgespike.prompting.answers import GROUPED, SINGLE, WHOLE
from edgespike.prompting.focus import groups_of
from edgespike.prompting.relevance import Relevance, relevance
from edgespike.sensing.picture import ChannelView, Picture
from training.phrasings import said
from training.scenes import (
    Quantity,
    Scene,
    Split,
    channel,
    habit_of,
    reserved,
    state_channel,
    styled,
)
from training.turns import Asker, Turn, detailed_of

_SPLITS: dict[int, Split] = {8: "dev", 9: "test"}
FOLDER = Path(__file__).with_name("situations")
_RANGE = re.compile(r"(-?\d+(?:\.(\d+))?)\.\.(-?\d+(?:\.\d+)?)(?: (\S+))?")


@dataclass(frozen=True, slots=True)
class Sensor:
    """`quantity` of a number; `states` of what reports words."""

    name: str
    kind: str
    quantity: Quantity | None
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wording:
    """Ways to ask one question; `about` are names of sensors, or a kind.

    `then` are questions that lean on this one, each with its family.
    """

    family: str
    about: tuple[str, ...]
    texts: tuple[str, ...]
    then: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    title: str
    sensors: tuple[Sensor, ...]
    wordings: tuple[Wording, ...]


def parse(text: str) -> Iterator[Situation]:
    """The situations of a file. Raises ValueError for a line that is none of the four kinds."""
    title = ""
    sensors: list[Sensor] = []
    wordings: list[Wording] = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        parts = tuple(part.strip() for part in rest.split("|"))
        if word == "==":
            if sensors:
                yield Situation(title, tuple(sensors), tuple(wordings))
            title, sensors, wordings = rest, [], []
        elif word == "sensor":
            sensors.append(_sensor(*parts))
        elif word == "ask":
            family, _, about = parts[0].partition(" ")
            named = tuple(name.strip() for name in about.split(",")) if about else ()
            wordings.append(Wording(family, named, parts[1:]))
        elif word == "then":
            last = wordings[-1]
            wordings[-1] = replace(last, then=(*last.then, (parts[0], parts[1:])))
        elif word and not word.startswith("#"):
            raise ValueError(f"no line of a situation: {line}")
    if sensors:
        yield Situation(title, tuple(sensors), tuple(wordings))


def _sensor(name: str, kind: str, what: str) -> Sensor:
    found = _RANGE.fullmatch(what)
    if found is None:
        return Sensor(name, kind, None, tuple(state.strip() for state in what.split(",")))
    decimals = len(found[2] or "")
    low, high = float(found[1]), float(found[3])
    return Sensor(name, kind, Quantity((kind,), (found[4] or "",), low, high, (decimals,)), ())


@cache
def situations() -> dict[Split, tuple[Situation, ...]]:
    """All situations by split; those of a file don't move when another comes."""
    found: dict[Split, list[Situation]] = {"train": [], "dev": [], "test": []}
    for path in sorted(FOLDER.glob("*.txt")):
        for index, each in enumerate(parse(path.read_text(encoding="utf-8"))):
            found[_SPLITS.get(index % 10, "train")].append(each)
    return {split: tuple(some) for split, some in found.items()}


class Situated(Asker):
    """Asks about one situation with random readings, mostly what was written for it."""

    def __init__(self, rng: random.Random, split: Split, situation: Situation) -> None:
        self.situation = situation
        self.index: dict[str, int] = {}
        self.kinds: dict[str, set[int]] = {}
        self._then: dict[str, Wording] = {}
        self._families = sorted({wording.family for wording in situation.wordings})
        super().__init__(rng, split, self._scene(rng, split))

    def _scene(self, rng: random.Random, split: Split) -> Scene:
        """Most of the sensors, with readings."""
        habit = habit_of(rng)
        views: list[ChannelView] = []
        parts: list[tuple[str, str]] = []
        states: list[tuple[str, ...]] = []
        share = rng.choice((0.6, 0.9, 1.0))
        for sensor in self.situation.sensors:
            if reserved(sensor.name, split) or rng.random() > share:
                continue
            name = styled(habit.style, sensor.name)
            if sensor.quantity is not None:
                view = channel(rng, habit, name, sensor.quantity)
            else:
                view = state_channel(rng, habit, name, sensor.states)
                view = replace(view, quantity=sensor.kind if habit.kinds else "")
            self.index[sensor.name] = len(views)
            self.kinds.setdefault(sensor.kind, set()).add(len(views))
            place, _, what = sensor.name.rpartition(" ")
            parts.append((place or what, what))
            states.append(sensor.states)
            views.append(view)
        picture = Picture(1.7e9 + rng.randrange(10**8), tuple(views))
        return Scene(picture, tuple(parts), tuple(states))

    def drawn(self) -> Turn:
        """A question of the situation, or one in general words that these readings allow."""
        for _ in range(20):
            if self.rng.random() < 0.2:
                break
            wordings = self.situation.wordings
            if self.rng.random() < 0.5:  # rare families as often as frequent ones
                family = self.rng.choice(self._families)
                wordings = tuple(w for w in wordings if w.family == family)
            wording = self.rng.choice(wordings)
            if turn := self.worded(wording, said(self.rng, self.rng.choice(wording.texts))):
                self._then[turn.question] = wording
                return turn
        return super().drawn()

    def again(self, before: Turn) -> Turn | None:
        """Another question about the same as `before`, if one can be asked."""
        wording = self._then.get(before.question)
        if wording is None or self.rng.random() < 0.3:
            return super().again(before)
        same = [w for w in self.situation.wordings if w.about == wording.about and w is not wording]
        same = [w for w in same if (w.family in WHOLE) == (wording.family in WHOLE)]
        if not same or wording.family == "unknown":
            return super().again(before)
        other = self.rng.choice(same)
        return self.worded(other, said(self.rng, self.rng.choice(other.texts)))

    def follow(self, before: Turn) -> Turn | None:
        """A question that leans on `before`, if one can."""
        wording = self._then.get(before.question)
        if wording is None or not wording.then or self.rng.random() < 0.2:
            return super().follow(before)
        family, texts = self.rng.choice(wording.then)
        question = said(self.rng, self.rng.choice(texts))
        answer = SINGLE[family](self.channels[before.about[0]])
        return Turn(f"follow_{family}", question, answer, before.about)

    def worded(self, wording: Wording, question: str) -> Turn | None:
        """The question with its answer, where all that it is about is there."""
        family = wording.family
        if family in WHOLE:
            return Turn(family, question, WHOLE[family](self.channels))
        found = relevance(self.channels, question)
        if family == "unknown":
            if not found.unknown or found.match or found.maybe:
                return None
            return Turn(family, question, answers.unknown(found.unknown[0]))
        if family in GROUPED:
            return self._of_kind(wording, question, found)
        if not all(name in self.index for name in wording.about):
            return None
        about = tuple(self.index[name] for name in wording.about)
        if family in SINGLE:
            return Turn(family, question, SINGLE[family](self.channels[about[0]]), about)
        fits = detailed_of(found)
        if set(fits) != set(about):
            return None
        shown = [self.channels[i] for i in fits]
        if family == "several":
            return Turn(family, question, answers.listed(shown), fits)
        group = list(groups_of(shown))
        answer = answers.compare(group[0]) if group else None
        return (answer and Turn("compare", question, answer, fits)) or None

    def _of_kind(self, wording: Wording, question: str, found: Relevance) -> Turn | None:
        """A question about a kind, where code finds exactly its sensors."""
        members = self.kinds.get(wording.about[0], set())
        fits = found.maybe or found.match
        if len(members) < 2 or set(fits) != members or found.unknown:
            return None
        shown = [self.channels[i] for i in fits]
        groups = list(groups_of(shown))
        if wording.family == "each":
            answer: str | None = answers.listed(shown)
        else:
            answer = GROUPED[wording.family](groups[0]) if len(groups) == 1 else None
        return (answer and Turn(wording.family, question, answer)) or None

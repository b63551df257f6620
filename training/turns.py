"""Questions with their one right answer over a scene."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from edgespike.prompting import answers
from edgespike.prompting.answers import GROUPED, SINGLE, WHOLE
from edgespike.prompting.focus import MAX_DETAILED, Group, groups_of, kind_of
from edgespike.prompting.relevance import Relevance, relevance
from edgespike.prompting.words import ALIASES
from edgespike.sensing.picture import ChannelView
from training.phrasings import ask, templates, typo
from training.scenes import QUANTITIES, STATES, Scene, Split, subject

WEIGHTS = {
    "value": 12, "unknown": 14, "status": 10, "state": 4, "trend": 6, "age": 8, "since": 5,
    "stats": 10, "unit": 2, "place": 12, "each": 24, "highest": 12, "lowest": 12, "compare": 14,
    "several": 18, "partly": 8, "mean": 12, "sum": 40, "together": 20, "count": 14,
    "states": 24, "alarms": 12, "stale": 12, "summary": 10, "total": 3, "kinds": 6, "help": 7,
    "other": 14,
}  # fmt: skip
"""How often each family is asked, where a scene allows it."""

FOLLOW = {
    "value": 5, "place": 5, "status": 4, "trend": 3, "age": 3, "since": 3, "stats": 3,
    "highest": 2, "lowest": 2,
}  # fmt: skip
"""How often each kind of question leans on the one before."""


_SPARE = tuple(family for family in WHOLE if family != "other")

Pair = tuple[int, int]
"""Two channels of a scene."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a family and its right answer; `about` are the channels that it names, `kind`
    is what it asks all sensors of.
    """

    family: str
    question: str
    answer: str
    about: tuple[int, ...] = ()
    kind: str = ""


def _words(name: str) -> set[str]:
    return set(name.casefold().replace("_", " ").split())


def spoken(rng: random.Random, place: str, what: str, name: str) -> str:
    """How people say a name: as it is, "temp in the kitchen", in other letters, with an error."""
    style = rng.random()
    if style < 0.18:
        if rng.random() < 0.3:
            what = next((short for short, long in ALIASES.items() if long == what), what)
        if rng.random() < 0.25:
            return f"{place}'s {what}"
        return (
            f"{what} {rng.choice(('in the', 'of the', 'of', 'in', 'at', 'at the', 'for'))} {place}"
        )
    if style < 0.24:
        return f"{place} {next((s for s, long in ALIASES.items() if long == what), what)}"
    if style < 0.42:
        name = name.lower()
    elif style < 0.46:
        name = name.upper()
    if rng.random() < 0.4:
        name = name.replace("_", " ")
    if rng.random() < 0.07:
        name = typo(rng, name)
    return name


class Asker:
    """Asks about one scene."""

    def __init__(self, rng: random.Random, split: Split, scene: Scene) -> None:
        self.rng, self.split, self.scene = rng, split, scene

    @property
    def channels(self) -> tuple[ChannelView, ...]:
        return self.scene.picture.channels

    def turn(self, family: str) -> Turn | None:
        """A question of `family` that this scene can answer, or None when it can't."""
        if family in WHOLE:
            return self._whole(family)
        if family in SINGLE:
            return self._single(family)
        make: dict[str, Callable[[], Turn | None]] = {
            "unknown": self._unknown,
            "place": self._place,
            "several": lambda: self._several(self._pair()),
            "partly": self._partly,
            "compare": lambda: self._compare(self._comparable()),
            "together": lambda: self._together(self._comparable()),
        }
        if family in GROUPED:
            kinds = (self._kind() for _ in range(6))
            return next(filter(None, (self.of_kind(family, kind) for kind in kinds)), None)
        return make[family]()

    def drawn(self) -> Turn:
        """A turn of a family drawn by WEIGHTS."""
        while True:
            family = self.rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
            if found := self.turn(family):
                return found

    def same(self, index: int, family: str) -> Turn | None:
        """A question of `family` about a given channel, by its name."""
        c = self.channels[index]
        fill = {"n": self._spoken(index)}
        if "{s}" in "".join(templates()[family][self.split]):
            fill["s"] = self._state(c)
        if family == "state" and c.number is not None:
            return None
        return Turn(family, self._ask(family, **fill), SINGLE[family](c), (index,))

    def _ask(self, family: str, **fill: str) -> str:
        return ask(self.rng, self.split, family, **fill)

    def _spoken(self, index: int) -> str:
        """What people call a channel: its name, or as much of it as only it has."""
        name = self.channels[index].name
        if self.rng.random() < 0.2:
            part = self._part(index)
            words = set(part.casefold().split())
            if part and sum(words <= _words(c.name) for c in self.channels) == 1:
                return part
        return spoken(self.rng, *self.scene.parts[index], name)

    def _part(self, index: int) -> str:
        """The place, what is measured, or the name without one of its words."""
        place, what = self.scene.parts[index]
        words = f"{place} {what}".split()
        words.pop(self.rng.randrange(len(words)))
        return self.rng.choice((place, place, place, what, " ".join(words)))

    def _state(self, c: ChannelView) -> str:
        values = self.scene.states[self.channels.index(c)]
        if not values or c.text is None:
            return self.rng.choice(("too high", "too low", "in alarm", "so", "out of range"))
        return self.rng.choice((c.text or "", *values))

    def _single(self, family: str) -> Turn | None:
        worded = [i for i, c in enumerate(self.channels) if c.text is not None and c.number is None]
        numeric = [i for i, c in enumerate(self.channels) if c.number is not None or c.unit]
        some = list(range(len(self.channels)))
        if family == "state":
            some = worded
        elif family in ("status", "trend", "stats", "unit") or (family == "since" and numeric):
            some = [*numeric, *numeric, *numeric, *worded] if family != "unit" else numeric
        if family == "since":
            some = [i for i in range(len(self.channels)) if self.channels[i].since_s is not None]
        if not some:
            return None
        index = self.rng.choice(some)
        everyday = f"{family} of {kind_of(self.channels[index])}"
        if everyday in templates() and self.rng.random() < 0.3:
            place = self.scene.parts[index][0]
            question = self._ask(everyday, p=place)
            return Turn(family, question, SINGLE[family](self.channels[index]), (index,))
        return self.same(index, family)

    def _whole(self, family: str) -> Turn:
        thing = self.rng.choice(templates()["things"][self.split])
        kind = kind_of(self.rng.choice(self.channels))
        question = self._ask(family, x=thing, q=kind or "value")
        return Turn(family, question, WHOLE[family](self.channels))

    def _unknown(self) -> Turn | None:
        place, what = self._strange()
        name = f"{place} {what}"
        if any(name.casefold() == c.name.casefold() for c in self.channels):
            return None
        family = self.rng.choice(
            ("value", "value", "value", "status", "trend", "age", "since", "stats", "unit", "state")
        )
        kind = what.split(" ")[-1]
        everyday = f"{self.rng.choice(('value', 'status'))} of {kind}"
        if everyday in templates() and self.rng.random() < 0.4:
            question = self._ask(everyday, p=place)
        elif self.rng.random() < 0.2:
            question = self._ask(
                self.rng.choice(("value", "status", "state", "place", "age")),
                n=place,
                p=place,
                s=self.rng.choice(("on", "running", "open")),
            )
        else:
            state = self.rng.choice(self.rng.choice(STATES)[1])
            question = self._ask(family, n=spoken(self.rng, place, what, name), s=state)
        found = relevance(self.channels, question)
        if not found.unknown or found.match or found.maybe:
            return None
        return Turn("unknown", question, answers.unknown(found.unknown[0]))

    def _strange(self) -> tuple[str, str]:
        """Place and quantity of a channel that the scene lacks; often one of them is known."""
        rng = self.rng
        place = subject(rng, self.split)
        what = rng.choice(rng.choice(QUANTITIES).names)
        if rng.random() < 0.15:
            what = rng.choice(rng.choice(STATES)[0])
        style = rng.random()
        if style < 0.35:
            place = rng.choice(self.scene.parts)[0]
        elif style < 0.7:
            what = rng.choice(self.scene.parts)[1]
        elif style < 0.85:
            place, what = rng.choice(self.scene.parts)
            place = f"{place} {rng.choice((subject(rng, self.split), '2', 'B', '17'))}"
        return place, what

    def again(self, before: Turn) -> Turn | None:
        """Another question about the same as `before`, if one can be asked."""
        if before.family in WHOLE:
            return self.turn(self.rng.choice(_SPARE))
        if before.family in SINGLE:
            return self.same(before.about[0], self.rng.choice(tuple(SINGLE)))
        if before.kind:
            return self.of_kind(self.rng.choice(tuple(GROUPED)), before.kind)
        if before.family in ("several", "compare", "together") and len(before.about) == 2:
            one, two = before.about
            return self.rng.choice((self._several, self._compare, self._together))((one, two))
        return None

    def _pair(self) -> Pair | None:
        if len(self.channels) < 2:
            return None
        one, two = self.rng.sample(range(len(self.channels)), 2)
        return one, two

    def _several(self, pair: Pair | None) -> Turn | None:
        if pair is None:
            return None
        one, two = (self.channels[i] for i in pair)
        place, what = self.scene.parts[pair[1]]
        first, second = self._spoken(pair[0]), self._spoken(pair[1])
        if what == self.scene.parts[pair[0]][1] and self.rng.random() < 0.4:
            first = self.scene.parts[pair[0]][0]  # "kitchen and cellar temperature"
            second = f"{place} {what}"
        question = self._ask("several", a=first, b=second)
        return Turn("several", question, answers.listed([one, two]), pair)

    def _partly(self) -> Turn | None:
        """One sensor that is there and one that isn't."""
        place, what = self._strange()
        index = self.rng.randrange(len(self.channels))
        question = self._ask("several", a=self._spoken(index), b=f"{place} {what}")
        found = relevance(self.channels, question)
        if found.match != (index,) or len(found.unknown) != 1:
            return None
        answer = answers.partly(answers.several([self.channels[index]]), found.unknown[0])
        return Turn("partly", question, answer, (index,))

    def _comparable(self) -> Pair | None:
        """Two channels of a kind and unit."""
        pairs = [
            (i, j)
            for i, one in enumerate(self.channels)
            for j, two in enumerate(self.channels)
            if i != j and one.number is not None and two.number is not None
            and one.unit == two.unit and kind_of(one) == kind_of(two)
        ]  # fmt: skip
        return self.rng.choice(pairs) if pairs else None

    def _compare(self, pair: Pair | None) -> Turn | None:
        return self._of_two("compare", answers.compare, pair)

    def _together(self, pair: Pair | None) -> Turn | None:
        return self._of_two("together", answers.together, pair)

    def _of_two(
        self, family: str, tell: Callable[[Group], str | None], pair: Pair | None
    ) -> Turn | None:
        """A question about two that make a group."""
        if pair is None:
            return None
        groups = list(groups_of([self.channels[i] for i in pair]))
        answer = tell(groups[0]) if len(groups) == 1 else None
        question = self._ask(family, a=self._spoken(pair[0]), b=self._spoken(pair[1]))
        return (answer and Turn(family, question, answer, pair)) or None

    def _place(self) -> Turn | None:
        """All that a place has."""
        place = self.rng.choice(self.scene.parts)[0]
        question = self._ask("place", p=place)
        found = relevance(self.channels, question)
        fits = found.maybe or found.match
        if any(place.casefold() not in self.scene.parts[i][0].casefold() for i in fits):
            return None
        here = [i for i, (p, _) in enumerate(self.scene.parts) if p == place]
        if not set(here) <= set(fits) or found.unknown:
            return None
        shown = [self.channels[i] for i in fits]
        answer = answers.reading(shown[0]) if len(shown) == 1 else answers.listed(shown)
        return Turn("place", question, answer, tuple(fits))

    def _kind(self) -> str:
        """What several channels have in common: a quantity ("temperature"), or with it a word of
        their names ("freezer temperature"); empty where there is none.
        """
        found: dict[str, list[ChannelView]] = {}
        for c in self.channels:
            found.setdefault(kind_of(c), []).append(c)
        fit = [(kind, group) for kind, group in found.items() if kind and len(group) > 1]
        if not fit:
            return ""
        kind, group = self.rng.choice(fit)
        if self.rng.random() < 0.4:
            names = {c.name: sorted(_words(c.name) - _words(kind)) for c in group}
            some = [word for words in names.values() for word in words if len(word) > 2]
            word = self.rng.choice(some) if some else ""
            part = [c for c in group if word in names[c.name]]
            if 1 < len(part) < len(group):
                return f"{word} {kind}"
        return kind

    def of_kind(self, family: str, kind: str) -> Turn | None:
        """A question of one of GROUPED about all sensors of a kind, where the word for it stands
        for several of one unit.
        """
        fits = [self.channels[i] for i in relevance(self.channels, f"{kind}?").maybe]
        groups = list(groups_of(fits))
        if not kind or len(fits) < 2:
            return None
        if family == "each":
            question, answer = self._ask("each", q=kind), answers.listed(fits)
            return Turn("each", question, answer, kind=kind)
        if len(groups) != 1 or len({c.unit for c in fits if c.text is not None}) != 1:
            return None
        found = GROUPED[family](groups[0])
        if found is None:
            return None
        fill = {"q": kind}
        if family == "states":
            fill["s"] = self._state(fits[0])
        everyday = f"{family} of {kind}"
        if everyday in templates() and self.rng.random() < 0.5:
            return Turn(family, self._ask(everyday), found, kind=kind)
        return Turn(family, self._ask(family, **fill), found, kind=kind)

    def follow(self, before: Turn) -> Turn | None:
        """A question that leans on `before`, if one can."""
        kind = self.rng.choices(tuple(FOLLOW), tuple(FOLLOW.values()))[0]
        family = f"follow_{kind}"
        if kind in ("highest", "lowest"):
            if before.family not in ("highest", "lowest", "mean"):
                return None
            found = relevance(self.channels, before.question)
            groups = list(groups_of([self.channels[i] for i in found.maybe]))
            answer = GROUPED[kind](groups[0]) if groups else None
            return (answer and Turn(family, self._ask(family), answer)) or None
        if len(before.about) != 1 or before.family not in SINGLE:
            return None
        index = before.about[0]
        if kind not in ("value", "place"):
            return Turn(family, self._ask(family), SINGLE[kind](self.channels[index]), (index,))
        place, what = self.scene.parts[index]
        part, fixed = (1, place) if kind == "value" else (0, what)
        others = [
            i for i, each in enumerate(self.scene.parts) if i != index and each[1 - part] == fixed
        ]
        if not others:
            return None
        other = self.rng.choice(others)
        fill = {"q" if kind == "value" else "p": self.scene.parts[other][part]}
        question = self._ask(family, **fill)
        return Turn(family, question, answers.reading(self.channels[other]), (other,))


def detailed_of(found: Relevance) -> tuple[int, ...]:
    """The channels of which the focus tells all: what matches, or else what may if it is little."""
    return found.match or (found.maybe if len(found.maybe) <= MAX_DETAILED else ())


def clean_turn(turn: Turn, found: Relevance) -> bool:
    """Whether code `found` for the question what its answer needs: what a model can learn from."""
    if not turn.about:
        return True
    if turn.family == "place":
        return True
    if turn.family in ("compare", "together"):
        return set(detailed_of(found)) == set(turn.about)
    if len(turn.about) > 1:
        return detailed_of(found) == turn.about
    if turn.family.startswith("follow_"):
        return (found.before or found.match) == turn.about
    if found.maybe and turn.family in SINGLE:  # told in detail
        return turn.about[0] in (*detailed_of(found), found.likely)
    return found.match == turn.about  # beside it a word may be unknown that is no name

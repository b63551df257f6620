"""Which channels a question is about, told by its words alone.

A question is cut into words. Those of a name, with typing errors, other endings and everyday words
("warm" for a temperature), are *matched*; ordinary words of questions are passed over; what is left
is *unknown*, unless learned associations tell what it stands for. What is asked about the channels
(their value, trend, ...) is for the model to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from edgespike.prompting.association import MARGIN, Ruled, learned, names_another, odds
from edgespike.prompting.lexicon import MAX_TERM, lexicon
from edgespike.prompting.words import (
    ALIASES,
    BOUNDS,
    CARDINALS,
    CONJUNCTIONS,
    CONTRASTS,
    FUNCTION,
    LINKS,
    MEASURED,
    ORDINALS,
    ORDINARY,
    QUANTITIES,
    alike,
    asked_meanings,
    common,
    cut,
    meanings,
    ordinary,
    singular,
)
from edgespike.sensing.picture import ChannelView

_WORD = re.compile(r"[^\W_]+")
_GAP = re.compile(r"[\s_/'’-]*")
_STOP = re.compile(r"[,;:.?!&+/]")
MAX_PREVIOUS = 4
"""Earlier questions that one can lean on."""

MAX_WORDS = 64
"""Words of a question that are looked at."""

MAX_MEANT = 2
"""So many channels that a question means without their names are its match, more are a group."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """Indices of channels by how they fit a question.

    `match`: the question holds the whole name, or only this channel fits what it names. `before`:
    what it means if it leans on those before it. `maybe`: several fit all that it names, and which
    of them is `likely` meant if it is only one. `near`: they share words with it. `unknown` are the
    things it names that are no channel. `sure`: the match is by whole names.
    """

    match: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    maybe: tuple[int, ...] = ()
    likely: int | None = None
    near: tuple[int, ...] = ()
    unknown: tuple[str, ...] = ()
    sure: bool = False


@dataclass(frozen=True, slots=True)
class _Name:
    """Words of a name, and of what is known beside it (its quantity), as sets of meanings."""

    words: tuple[str, ...]
    needed: tuple[frozenset[str], ...]
    extra: frozenset[str]


_NOWHERE = _Name((), (), frozenset())


@lru_cache(maxsize=4096)
def _name(name: str, quantity: str) -> _Name:
    words = tuple(w for w, _, _ in cut(name) if w not in FUNCTION or len(w) == 1)
    words = words or tuple(w for w, _, _ in cut(name))
    extra = frozenset(m for w, _, _ in cut(quantity) for m in meanings(w))
    return _Name(words, tuple(meanings(w) for w in words), extra)


class _Question:
    """A question's words against the words of all names."""

    def __init__(self, text: str, names: Sequence[_Name]) -> None:
        self.text = text
        self.names = names
        found = cut(text)[:MAX_WORDS]
        self.words = [word for word, _, _ in found]
        self._places = [(start, end) for _, start, end in found]
        known = {word for name in names for word in name.words}
        self._meant = {m for name in names for word in name.needed for m in word}
        self._meant |= {m for name in names for m in name.extra}
        self._glued = _glued(names)
        self.meanings = [self._meaning(i, known) for i in range(len(found))]
        self._mean_numbers(known)
        self._mean_the_same()
        self._asked = frozenset[str]().union(*self.meanings)
        self.matched = [self._reach(name) for name in names]

    def _meaning(self, index: int, known: set[str]) -> frozenset[str]:
        """What the word means among the names; empty when it is no word of theirs."""
        word = self.words[index]
        if word in FUNCTION and len(word) > 1:
            return frozenset()
        if len(word) == 1 and word.isalpha():
            return frozenset((word,)) if word in known and index else frozenset()
        meant = asked_meanings(word) & self._meant
        if word in self._glued:
            meant |= self._glued[word]
        for first in (index - 1, index):  # "living room" for "livingroom"
            pair = "".join(self.words[max(0, first) : first + 2])
            if first + 1 < len(self.words) and pair in known and pair != word:
                meant |= {pair}
        if not meant and not common(word):
            meant = frozenset(k for k in known if alike(word, k) or alike(singular(word), k))
            meant = frozenset(m for k in meant for m in meanings(k)) & self._meant
        return meant

    def _mean_numbers(self, known: set[str]) -> None:
        """Numbers in words beside a word of a name: "the second barn", "zone two"."""
        for at, word in enumerate(self.words):
            beside = at + 1 if word in ORDINALS else at - 1
            if not 0 <= beside < len(self.words):
                continue
            if (
                self.words[beside] in CONJUNCTIONS
                and beside
                and self.words[beside - 1] in CARDINALS
            ):
                beside -= 1  # "pump one and two"
            number = ORDINALS.get(word) or CARDINALS.get(word)
            if number in known and self.meanings[beside]:
                self.meanings[at] = frozenset((number,))

    def _mean_the_same(self) -> None:
        """Terms that stand for others: "starboard coolant" for "stbd coolant"."""
        singulars = [singular(word) for word in self.words]
        for length in range(MAX_TERM, 0, -1):
            for at in range(len(self.words) - length + 1):
                places = range(at, at + length)
                if all(self.meanings[i] for i in places):
                    continue
                for other in lexicon().same.get(tuple(singulars[at : at + length]), ()):
                    if self._meant.issuperset(other):
                        for i in places:
                            self.meanings[i] |= frozenset(other)
        for at, word in enumerate(singulars):
            if not self.meanings[at] and not ordinary(self.words[at]):
                self.meanings[at] = lexicon().hinted(word) & self._meant

    def _reach(self, name: _Name) -> tuple[frozenset[int], int, int]:
        """Places of the question that `name` explains, how many of its words they name, how many
        exactly."""
        places: set[int] = set()
        named = exact = 0
        for at, word in enumerate(name.needed):
            if word.isdisjoint(self._asked):
                continue  # most words of most names
            hits = [i for i, meant in enumerate(self.meanings) if meant & word]
            hits = [i for i in hits if not self._by_the_way(i, name)]
            plain = name.words[at]
            if len(plain) == 1 and plain.isalpha():
                before = name.needed[at - 1] if at else frozenset()
                hits = [i for i in hits if i and self.meanings[i - 1] & before]
            places.update(hits)
            named += bool(hits)
            exact += any(self.words[i] == plain for i in hits)
        if not name.extra.isdisjoint(self._asked):
            places.update(i for i, meant in enumerate(self.meanings) if meant & name.extra)
        return frozenset(places), named, exact

    def _by_the_way(self, index: int, name: _Name) -> bool:
        """Whether an ordinary word of the question only happens to be one of the name's: "which
        room" doesn't mean the living room, "outside its limits" not the outdoor sensor."""
        word = self.words[index]
        after = self.words[index + 1 : index + 2]
        if word in ("outside", "inside") and after:
            return after[0] in FUNCTION or after[0] in BOUNDS
        if word not in name.words or word not in ORDINARY or len(name.words) == 1:
            return False
        if word in QUANTITIES and word != "current":
            return False
        if any(word in some and len(some.intersection(self.words)) > 1 for some in CONTRASTS):
            return False  # "top and bottom"
        beside = [self.words[:index][::-1], self.words[index + 1 :]]
        if word == "current":  # "the current hall power" is no current, "the hall current" is
            beside = beside[:1] if not LINKS.intersection(after) else beside
        near = {next((w for w in side if w not in LINKS), "") for side in beside}
        own = {m for needed in name.needed for m in needed}
        return not any(meanings(w) & own for w in near)

    def may_mean(self, channel: int) -> bool:
        """Whether no word that a channel leaves unexplained must be another's."""
        places = self.matched[channel][0]
        words = {singular(w) for i, w in enumerate(self.words) if i not in places}
        own = {singular(w) for w in self.names[channel].words}
        return not any(names_another(word, learned()) for word in words - own)

    def means_another(self, index: int, channel: ChannelView, explained: frozenset[int]) -> bool:
        """Whether a word that isn't `explained` by any channel that is meant says that this one is
        not: the left one of its kind for the right, the second for the first, the pressure of a
        pump that only tells whether it runs.
        """
        places = self.matched[index][0]
        own = set(self.names[index].words)
        kind = meanings(channel.quantity.casefold()) | self.names[index].extra
        for at, word in enumerate(self.words):
            if at in explained or word in own:
                continue
            contrary = [some & own for some in CONTRASTS if word in some]
            if any(some and some.isdisjoint(self.words) for some in contrary):
                return True
            if word in ("outside", "outdoors", "outdoor") and not self._by_the_way(at, _NOWHERE):
                return True
            meant = meanings(singular(word)) & MEASURED
            if word == "current" and at - 1 in places:
                meant = frozenset((word,))
            if meant and not meant & kind and (channel.quantity or channel.number is None):
                return True
            beside = {at - 1, at + 1} & places
            number = CARDINALS.get(word) or ORDINALS.get(word) or word
            lettered = len(word) == 1 and word.isalpha() and at - 1 in places
            if (number.isdecimal() and beside and any(map(str.isdecimal, own))) or (
                lettered and any(len(w) == 1 and w.isalpha() for w in own)
            ):
                return True
        return False

    def without_others(
        self, found: Sequence[int], channels: Sequence[ChannelView]
    ) -> tuple[int, ...]:
        """Of some channels those that aren't taken for another one."""
        explained = frozenset(i for c in found for i in self.matched[c][0])
        return tuple(c for c in found if not self.means_another(c, channels[c], explained))

    @property
    def hit(self) -> frozenset[int]:
        """Places that some name explains."""
        return frozenset(i for reach, _, _ in self.matched for i in reach)

    def runs(self) -> list[list[int]]:
        """Neighbouring words that are matched or unknown, without those between names."""
        runs: list[list[int]] = []
        hit, last = self.hit, -2
        for i, word in enumerate(self.words):
            if i not in hit and ordinary(word):
                continue
            joined = i == last + 1 and _GAP.fullmatch(
                self.text, self._places[i - 1][1], self._places[i][0]
            )
            if joined:
                runs[-1].append(i)
            else:
                runs.append([i])
            last = i
        return runs

    def named(self, channel: int, places: frozenset[int]) -> bool:
        """Whether these places hold the whole name of a channel."""
        needed = self.names[channel].needed
        return all(any(self.meanings[i] & word for i in places) for word in needed)

    def phrases(self) -> list[list[list[int]]]:
        """The runs, together where no conjunction or comma parts them: "temperature in the hall"
        is one phrase, "hall and attic" are two."""
        phrases: list[list[list[int]]] = []
        for run in self.runs():
            if phrases:
                last = phrases[-1][-1][-1]
                between = self.text[self._places[last][1] : self._places[run[0]][0]]
                conjoined = CONJUNCTIONS.intersection(self.words[last + 1 : run[0]])
                if not conjoined and not _STOP.search(between):
                    phrases[-1].append(run)
                    continue
            phrases.append([run])
        return phrases

    def lacking(self, phrase: list[list[int]]) -> str:
        """A name for what doesn't exist: "sauna temperature" for "how warm is the sauna"."""
        places = [run for run in phrase if not self._quantity(run)]
        measured = [self._quantity(run) for run in phrase if run not in places]
        if len(measured) == 1 and len(measured[0]) == 1:
            return " ".join((*(self.said(run) for run in places), *measured[0]))
        return " ".join(self.said(run) for run in places or phrase)

    def _quantity(self, run: list[int]) -> frozenset[str]:
        """What a run of words measures when it says nothing else."""
        meant = [asked_meanings(self.words[i]) & QUANTITIES for i in run]
        return frozenset[str]().union(*meant) - set(ALIASES) if all(meant) else frozenset()

    def said(self, run: Sequence[int]) -> str:
        """The run as it stands in the question."""
        return self.text[self._places[run[0]][0] : self._places[run[-1]][1]]


def _glued(names: Iterable[_Name]) -> dict[str, frozenset[str]]:
    """Neighbouring words of names written as one -> the words."""
    return {
        one + two: frozenset((one, two))
        for name in names
        for one, two in zip(name.words, name.words[1:], strict=False)
        if one.isalpha() and two.isalpha()
    }


def relevance(
    channels: Sequence[ChannelView], question: str, previous: Sequence[str] = ()
) -> Relevance:
    """How `channels` fit `question`; `previous` are the questions before it, the latest last.

    Where the rules don't find the channel, what was learned of words decides. Cost: one pass over
    the names, and over their distinct words for each word that none has.
    """
    asked = _Question(question, [_name(channel.name, channel.quantity) for channel in channels])
    found = _meant_ones(channels, asked, _by_rules(channels, asked, previous))
    if found.match or found.before:
        return found
    scores = odds(channels, question, _ruled(asked, found), learned())
    if len(found.maybe) > 1:
        best, second = sorted(found.maybe, key=lambda c: -scores[c])[:2]
        clear = scores[best] > scores[second] + MARGIN
        return replace(found, likely=best if clear else None)
    meant = [c for c, score in enumerate(scores) if score > MARGIN and asked.may_mean(c)]
    meant = list(asked.without_others(meant, channels))
    if not meant:
        return found
    if len(meant) > MAX_MEANT:
        return Relevance(maybe=tuple(meant))
    first = {c: min(asked.matched[c][0], default=MAX_WORDS) for c in meant}
    return Relevance(match=tuple(sorted(meant, key=lambda c: (first[c], -scores[c]))))


def _meant_ones(channels: Sequence[ChannelView], asked: _Question, found: Relevance) -> Relevance:
    """`found` without channels that stand in for another one, which isn't there."""
    match = asked.without_others(found.match, channels)
    maybe = asked.without_others(found.maybe, channels)
    if (match, maybe) == (found.match, found.maybe):
        return found
    if match or maybe or found.before:
        return replace(found, match=match, maybe=maybe)
    phrases = [phrase for phrase in asked.phrases() if phrase]
    lacking = tuple(asked.lacking(phrase) for phrase in phrases)
    return Relevance(near=(*found.match, *found.maybe), unknown=(*found.unknown, *lacking))


def _by_rules(
    channels: Sequence[ChannelView], asked: _Question, previous: Sequence[str]
) -> Relevance:
    runs, hit = asked.runs(), asked.hit
    full = _full(asked, runs)
    phrases = asked.phrases()
    if full:
        covered = {i for places in full.values() for i in places}
        rest = [p for p in phrases if not covered & _places(p) and not _places(p) <= hit]
        # A single word beside what was found is rather a word that we don't know.
        rest = [p for p in rest if len(_places(p)) > 1]
        unknown = tuple(asked.lacking(phrase) for phrase in rest)
        return Relevance(match=tuple(full), unknown=unknown, sure=True)
    best = _undominated(asked)
    maybe = [c for c in best if any(_places(p) <= asked.matched[c][0] for p in phrases)]
    covered = {i for c in maybe for i in asked.matched[c][0]}
    lacking = [phrase for phrase in phrases if not _places(phrase) <= hit]
    lacking = lacking or [phrase for phrase in phrases if not _places(phrase) <= covered]
    if lacking:
        near = tuple(sorted(best, key=lambda c: -asked.matched[c][1]))
        return Relevance(near=near, unknown=tuple(asked.lacking(phrase) for phrase in lacking))
    whole = [c for c in maybe if asked.matched[c][0] == hit]
    maybe = whole or maybe
    if len(maybe) == 1:
        return Relevance(match=(maybe[0],))
    if not maybe and previous:
        earlier = relevance(channels, previous[-1], previous[-MAX_PREVIOUS:-1])
        return Relevance(before=earlier.match or earlier.before, maybe=earlier.maybe)
    return Relevance(maybe=tuple(maybe), before=_before(maybe, previous, asked.names))


def ruled(channels: Sequence[ChannelView], question: str) -> Ruled:
    """What the rules alone say to a question that leans on no other."""
    asked = _Question(question, [_name(c.name, c.quantity) for c in channels])
    return _ruled(asked, _meant_ones(channels, asked, _by_rules(channels, asked, ())))


def _ruled(asked: _Question, found: Relevance) -> Ruled:
    words = [singular(word) for word in asked.words]
    explained = [frozenset(words[i] for i in places) for places, _, _ in asked.matched]
    return Ruled(explained, found.match, found.sure, found.maybe, bool(found.unknown))


def _places(phrase: list[list[int]]) -> set[int]:
    return {i for run in phrase for i in run}


def _full(asked: _Question, runs: list[list[int]]) -> dict[int, frozenset[int]]:
    """Channels whose whole name is in the question, and where, in the order of the question.

    Not those whose name an unknown word makes another's ("kitchen radiator temperature"). Of names
    within each other ("kitchen temperature", "kitchen freezer temperature") the longest counts.
    """
    matched, hit = asked.matched, asked.hit
    whole = [c for c, name in enumerate(asked.names) if matched[c][1] == len(name.words) > 0]
    whole.sort(key=lambda c: (-len(matched[c][0]), -matched[c][2] / matched[c][1], -matched[c][1]))
    phrases = [frozenset(_places(phrase)) for phrase in asked.phrases()]
    # First those that one phrase names: "sala 2 leak, sala lux" isn't about a sala leak.
    whole.sort(key=lambda c: not any(asked.named(c, matched[c][0] & phrase) for phrase in phrases))
    taken: set[int] = set()
    found: dict[int, frozenset[int]] = {}
    for c in whole:
        places = matched[c][0]
        strange = {i for run in runs if _in_the_way(asked.words, run, hit, places) for i in run}
        clear = places - strange
        # "the hall power and the hall solar power" names the hall power, though in the other too.
        alone = [clear & phrase for phrase in phrases if asked.named(c, clear & phrase)]
        own = next((part for part in alone if part - taken), places)
        if own - taken and asked.named(c, own & clear):
            found[c] = own & clear
        taken |= own
    shared = Counter(i for places in found.values() for i in places)
    first = {c: min([i for i in at if shared[i] == 1] or at) for c, at in found.items()}
    return {c: found[c] for c in sorted(found, key=lambda c: first[c])}


def _in_the_way(
    words: Sequence[str], run: list[int], hit: frozenset[int], places: frozenset[int]
) -> bool:
    """Whether a word of `run` that nothing explains makes its name another than that at `places`.

    A word behind a name may be a verb ("is the cellar humidity dwindling"), unless it is an id.
    """
    inside = [i for i in run if i in places]
    if not inside:
        return False
    strange = [i for i in run if i not in hit]
    return any(i < inside[-1] or len(words[i]) <= 2 or not words[i].isalpha() for i in strange)


def _undominated(asked: _Question) -> list[int]:
    """Channels that explain a word and of which none explains more, word for word."""
    some = [c for c, (places, _, _) in enumerate(asked.matched) if places]
    sets = {asked.matched[c][0] for c in some}
    top = {each for each in sets if not any(each < other for other in sets)}
    return [c for c in some if asked.matched[c][0] in top]


def _before(
    maybe: Sequence[int], previous: Sequence[str], names: Sequence[_Name]
) -> tuple[int, ...]:
    """Of the channels that fit, that which shares the most words with the question before."""
    if not previous or not maybe:
        return ()
    last = _Question(previous[-1], names)
    shared = {c: last.matched[c][1] for c in maybe}
    most = max(shared.values())
    best = [c for c, count in shared.items() if count == most]
    return (best[0],) if most and len(best) == 1 else ()


def rank(channels: Sequence[ChannelView], question: str) -> list[int]:
    """Indices of `channels`, the most relevant to `question` first, ties in their given order.

    A channel that the question names in full comes first, then alarms, then the others by the
    share of their name that the question mentions; a word counts the more, the fewer carry it.
    """
    asked = set(_WORD.findall(question.casefold()))
    words = [frozenset(_WORD.findall(channel.name.casefold())) for channel in channels]
    frequency = Counter(word for name in words for word in name)

    def key(index: int) -> tuple[bool, bool, float, int]:
        name, limit = words[index], channels[index].limit
        mentioned = name & asked
        share = 0.0
        if mentioned:
            share = sum(1 / frequency[w] for w in sorted(mentioned))
            share /= share + sum(1 / frequency[w] for w in sorted(name - asked))
        alarm = limit is not None and limit != "ok"
        return not (mentioned and mentioned == name), not alarm, -share, index

    return sorted(range(len(channels)), key=key)

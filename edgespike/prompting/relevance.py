"""Which channels a question is about, told by its words alone.

What of a question no name explains is unknown, unless learned associations tell what it stands for.
What is asked about the channels (their value, trend, ...) is for the model to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from edgespike.prompting.association import MARGIN, Ruled, learned, odds
from edgespike.prompting.names import Name, name_of
from edgespike.prompting.question import MAX_WORDS, Question
from edgespike.prompting.words import HIGH, LOW, NO_ROOM, QUANTITIES, singular
from edgespike.sensing.picture import ChannelView

_WORD = re.compile(r"[^\W_]+")
MAX_PREVIOUS = 4
"""Earlier questions that one can lean on."""

MAX_APART = 32
"""So many different names in a question are looked at for one within another."""

MAX_MEANT = 2
"""So many channels that a question means without their names are its match, more are a group."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """Indices of channels by how they fit a question.

    `match`: the question holds the whole name, or only this channel fits what it names. `before`:
    what it means if it leans on those before it. `maybe`: several fit all that it names, and which
    of them is `likely` meant if it is only one. `near`: they share words with it. `unknown` are the
    things it names that are no channel. `sure`: the match is by whole names. `end`: by its words
    it asks for the highest or for the lowest, if for either. `words`: how it asks, with a mark for
    what names explain (`Question.outline`).
    """

    match: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    maybe: tuple[int, ...] = ()
    likely: int | None = None
    near: tuple[int, ...] = ()
    unknown: tuple[str, ...] = ()
    sure: bool = False
    end: Literal["highest", "lowest"] | None = None
    words: tuple[str, ...] = field(default=(), compare=False)


def relevance(
    channels: Sequence[ChannelView],
    question: str,
    previous: Sequence[str] = (),
    refused: Sequence[ChannelView] = (),
) -> Relevance:
    """How `channels` fit `question`; `previous` are the questions before it, the latest last. Of
    the `refused` only the names are known: a question that means one of them means no other.

    Where the rules don't find the channel, what was learned of words decides. Cost: one pass over
    the names, and over their distinct words for each word that none has.
    """
    asked = _asked(channels, question)
    high, low = (not end.isdisjoint(asked.words) for end in (HIGH, LOW))
    found = _found(channels, asked, previous)
    if near := _said(refused, asked):
        known = (*channels, *near)
        meant = _found(known, _asked(known, question), previous)
        found = _without_others(found, meant, known, len(channels))
    end = found.end if high == low else "highest" if high else "lowest"
    return replace(found, end=end, words=asked.outline())


def _said(refused: Sequence[ChannelView], asked: Question) -> list[ChannelView]:
    """Those of `refused` of which the question says more than a quantity: looking at all of them
    would make each question slower, for sensors that can't be answered about.
    """
    said = set(map(singular, asked.words))
    names = [(c, set(map(singular, name_of(c.name, c.quantity).words))) for c in refused]
    return [c for c, words in names if not said.isdisjoint(words - QUANTITIES or words)]


def _asked(channels: Sequence[ChannelView], question: str) -> Question:
    return Question(question, [name_of(channel.name, channel.quantity) for channel in channels])


def _without_others(
    found: Relevance, meant: Relevance, known: Sequence[ChannelView], kept: int
) -> Relevance:
    """`found` without channels that stand in for one of those from `kept` on, which is `meant`."""
    means = meant.match or meant.maybe
    lost = tuple(known[c].name for c in means if c >= kept)
    if not lost or (not meant.match and len(lost) < len(means)):
        return found  # nothing else is meant, or it may be one that is there
    match, maybe = (tuple(c for c in some if c in means) for some in (found.match, found.maybe))
    others = (*(c for c in (*found.match, *found.maybe) if c not in means), *found.near)
    return Relevance(match=match, maybe=maybe, near=others, unknown=found.unknown or lost)


def _found(channels: Sequence[ChannelView], asked: Question, previous: Sequence[str]) -> Relevance:
    found = _meant_ones(channels, asked, _by_rules(channels, asked, previous))
    found = _of_rooms(channels, asked, _in_state(channels, asked, found))
    if found.match or found.before:
        return found
    scores = odds(channels, asked.text, _ruled(asked, found), learned())
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


def _in_state(channels: Sequence[ChannelView], asked: Question, found: Relevance) -> Relevance:
    """`found` with those of several that tell the state that is asked for: "is the bilge dry?" is
    about the bilge's float switch and not about its pump."""
    if len(found.match) == 1:
        return replace(found, match=_state_of(channels, asked, found.match[0]))
    if len(found.maybe) < 2:
        return found
    worded = [c for c in found.maybe if channels[c].number is None and not channels[c].unit]
    named = [c for c in worded if asked.names_state(channels[c].text or "")]
    kinds = {channels[c].quantity for c in named} - {""}
    tells = tuple(c for c in worded if c in named or channels[c].quantity in kinds)
    if not tells or len(tells) == len(found.maybe):
        return found
    if len(tells) == 1:
        return replace(found, match=tells, maybe=())
    return replace(found, maybe=tells)


def _of_rooms(channels: Sequence[ChannelView], asked: Question, found: Relevance) -> Relevance:
    """`found` without boilers and gardens, where "which room is warmest" asks for rooms alone."""
    rooms = {at for at, word in enumerate(asked.words) if word in ("room", "rooms")}
    warm = all(channels[c].unit in ("°C", "°F") for c in found.maybe)
    if not warm or not rooms or not rooms.isdisjoint(asked.hit):
        return found
    names = {c: asked.names[c].words for c in found.maybe}
    kept = tuple(c for c in names if NO_ROOM.isdisjoint(names[c]) or "room" in names[c])
    return replace(found, maybe=kept) if len(kept) > 1 else found


def _state_of(channels: Sequence[ChannelView], asked: Question, match: int) -> tuple[int, ...]:
    """What a question about the state of `match` means: "is the front door locked" asks for the
    front door lock where the front door itself is open or closed.
    """
    if asked.names_state(channels[match].text or ""):
        return (match,)
    words = set(asked.names[match].words)
    others = [
        c
        for c, name in enumerate(asked.names)
        if words < set(name.words) and asked.matched[c][0] >= asked.matched[match][0]
    ]
    found = [c for c in others if asked.names_state(channels[c].text or "")]
    return (found[0],) if len(found) == 1 else (match,)


def _meant_ones(channels: Sequence[ChannelView], asked: Question, found: Relevance) -> Relevance:
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
    channels: Sequence[ChannelView], asked: Question, previous: Sequence[str]
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
        beside = dict.fromkeys(_beside(asked, phrases, covered))
        return Relevance(match=tuple({**full, **beside}), unknown=unknown, sure=True)
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


def _beside(
    asked: Question, phrases: Sequence[list[list[int]]], covered: set[int]
) -> Iterator[int]:
    """What phrases name in part, beside whole names: "is the sea colder than the cabin"."""
    for phrase in phrases:
        places = _places(phrase)
        named = places - covered
        if not named or asked.only_hinted(frozenset(named)) or not places <= asked.hit:
            continue
        fits = [c for c, (at, _, _) in enumerate(asked.matched) if places <= at]
        # "the spindle load of the DMG and the Haas" is about the load of both.
        most = max((len(asked.matched[c][0]) for c in fits), default=0)
        fits = [c for c in fits if len(asked.matched[c][0]) == most]
        if len(fits) == 1:
            yield fits[0]


def ruled(channels: Sequence[ChannelView], question: str) -> Ruled:
    """What the rules alone say to a question that leans on no other."""
    asked = Question(question, [name_of(c.name, c.quantity) for c in channels])
    return _ruled(asked, _meant_ones(channels, asked, _by_rules(channels, asked, ())))


def _ruled(asked: Question, found: Relevance) -> Ruled:
    words = [singular(word) for word in asked.words]
    explained = [frozenset(words[i] for i in places) for places, _, _ in asked.matched]
    return Ruled(
        explained, frozenset(found.match), found.sure, frozenset(found.maybe), bool(found.unknown)
    )


def _places(phrase: list[list[int]]) -> set[int]:
    return {i for run in phrase for i in run}


def _full(asked: Question, runs: list[list[int]]) -> dict[int, frozenset[int]]:
    """Channels whose whole name is in the question, and where, in the order of the question.

    Not those whose name an unknown word makes another's ("kitchen radiator temperature"). Of names
    within each other ("kitchen temperature", "kitchen freezer temperature") the longest counts.
    """
    matched, hit = asked.matched, asked.hit
    whole = [c for c, name in enumerate(asked.names) if matched[c][1] == len(name.words) > 0]
    # "what gravity is my beer at" is about its gravity, though beer alone hints at the fermenter.
    reach = {places for places, _, _ in matched}
    hinted = {at for at in reach if asked.only_hinted(at)}
    if all(matched[c][0] in hinted for c in whole):
        hinted = {at for at in hinted if any(at < other for other in reach)}
    whole = [c for c in whole if matched[c][0] not in hinted]
    whole.sort(key=lambda c: (-len(matched[c][0]), -matched[c][2] / matched[c][1], -matched[c][1]))
    phrases = [frozenset(_places(phrase)) for phrase in asked.phrases()]
    # First those that one phrase names: "sala 2 leak, sala lux" isn't about a sala leak.
    whole.sort(key=lambda c: not any(asked.named(c, matched[c][0] & phrase) for phrase in phrases))
    apart = _apart(asked, whole)
    whole.sort(key=lambda c: c not in apart)
    taken: set[int] = set()
    found: dict[int, frozenset[int]] = {}
    for c in whole:
        places = matched[c][0]
        strange = {i for run in runs if _in_the_way(asked.words, run, hit, places) for i in run}
        clear = places - strange
        # "the hall power and the hall solar power" names the hall power, though in the other too.
        alone = [clear & phrase for phrase in phrases if asked.named(c, clear & phrase)]
        parts = apart.get(c) or alone or [places]
        own = next((part for part in parts if asked.names_some(c, part - taken)), frozenset[int]())
        if own and asked.named(c, own & clear):
            found[c] = own & clear
        taken |= own
    shared = Counter(i for places in found.values() for i in places)
    first = {c: min([i for i in at if shared[i] == 1] or at) for c, at in found.items()}
    return {c: found[c] for c in sorted(found, key=lambda c: first[c])}


def _apart(asked: Question, whole: Sequence[int]) -> dict[int, list[frozenset[int]]]:
    """Where whole names are said that are no parts of longer ones: both in "is the soil moisture
    above the moisture".
    """
    different = list({asked.names[c].words: c for c in whole}.values())
    if len(different) > MAX_APART:
        return {}
    found: dict[tuple[tuple[str, ...], frozenset[int]], list[frozenset[int]]] = {}
    for c in whole:
        like = (asked.names[c].words, asked.matched[c][0])
        if like not in found:
            found[like] = [m for m in asked.mentions(c) if _own(asked, c, m, different)]
    of = {c: found[asked.names[c].words, asked.matched[c][0]] for c in whole}
    return {c: mentions for c, mentions in of.items() if mentions}


def _own(asked: Question, channel: int, mention: frozenset[int], names: Sequence[int]) -> bool:
    """Whether all longer `names` around a mention are said without it too."""
    longer = [c for c in names if c != channel and mention < asked.matched[c][0]]
    return all(asked.named(c, asked.matched[c][0] - mention) for c in longer)


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


def _undominated(asked: Question) -> list[int]:
    """Channels that explain a word and of which none explains more, word for word."""
    some = [c for c, (places, _, _) in enumerate(asked.matched) if places]
    sets = {asked.matched[c][0] for c in some}
    top = {each for each in sets if not any(each < other for other in sets)}
    return [c for c in some if asked.matched[c][0] in top]


def _before(
    maybe: Sequence[int], previous: Sequence[str], names: Sequence[Name]
) -> tuple[int, ...]:
    """Of the channels that fit, that which shares the most words with the question before."""
    if not previous or not maybe:
        return ()
    last = Question(previous[-1], names)
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

"""All that can truly be said to a question: one statement for each thing that it may have asked.

A small model that was taught these answers need not spell out names and numbers: it is left to
choose among statements that code has made of the readings, so that a number never stands beside
another sensor's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from edgespike.prompting import answers
from edgespike.prompting.describe import clean
from edgespike.prompting.focus import (
    MAX_DETAILED,
    MAX_GROUPS,
    MAX_LISTED,
    MAX_MATCHES,
    MAX_UNKNOWN,
    groups_of,
)
from edgespike.prompting.relevance import Relevance
from edgespike.sensing.picture import ChannelView


def statements(channels: Sequence[ChannelView], found: Relevance) -> tuple[str, ...]:
    """What `channels` say to a question that fits them as `found`, each statement once."""
    return tuple(dict.fromkeys(_all(channels, found)))


def _all(channels: Sequence[ChannelView], found: Relevance) -> Iterator[str]:
    for channel in _cleaned(channels, dict.fromkeys(_single(found))):
        yield from (say(channel) for say in answers.SINGLE.values())
    unknown = [clean(words) for words in found.unknown[:MAX_UNKNOWN]]
    yield from map(answers.unknown, unknown)
    for fits in (found.match, found.maybe):
        if fits:
            yield from _lists(_cleaned(channels, fits), unknown)
    if len(found.near) > 1:
        yield answers.listed(_cleaned(channels, sorted(found.near)))
    several = found.match if len(found.match) > 1 else (*found.maybe, *found.near)
    for group in islice(groups_of([channels[c] for c in several]), MAX_GROUPS):
        other = {"highest": "lowest", "lowest": "highest"}.get(found.end or "")
        asked = [say for name, say in answers.GROUPED.items() if name != other]
        said = (say(group) for say in (*asked, answers.compare))
        yield from (each for each in said if each)
    whole = answers.WHOLE if not found.sure else {"other": answers.WHOLE["other"]}
    yield from (say(channels) for say in whole.values())


def _single(found: Relevance) -> Iterator[int]:
    """The channels of which one may be meant alone: what is asked of several is told of them
    together.
    """
    if len(found.match) <= 1:
        yield from (*found.match, *found.before)
    if len(found.maybe) <= MAX_DETAILED:
        yield from found.maybe
    elif found.likely is not None:
        yield found.likely


def _lists(fits: Sequence[ChannelView], unknown: Sequence[str]) -> Iterator[str]:
    """Some channels together, and beside them what isn't there."""
    if len(fits) == MAX_MATCHES:
        yield answers.several(fits)
    if len(fits) > 1:
        yield answers.listed(fits)
    known = answers.several(fits[:MAX_LISTED], len(fits))
    for words in unknown:
        yield answers.partly(known, words)


def _cleaned(channels: Sequence[ChannelView], some: Iterable[int]) -> list[ChannelView]:
    """Some channels as they are shown to a model."""
    return [
        replace(
            channel,
            name=clean(channel.name),
            text=None if channel.text is None else clean(channel.text),
            unit=clean(channel.unit),
        )
        for channel in (channels[index] for index in some)
    ]

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
    MAX_TOLD,
    MAX_UNKNOWN,
    groups_of,
)
from edgespike.prompting.relevance import Relevance
from edgespike.sensing.picture import ChannelView

Kind = str
"""What a statement tells: one of `intent.KINDS`."""

_TOLD: dict[str, Kind] = {"age": "age", "stats": "stats", "help": "other"}
"""What is told by other families than their own; of one sensor what isn't here is its reading."""


def statements(channels: Sequence[ChannelView], found: Relevance) -> dict[str, frozenset[Kind]]:
    """What `channels` say to a question that fits them as `found`, and what kinds of statement each
    of these is.
    """
    kinds: dict[str, set[Kind]] = {}
    for kind, text in _all(channels, found):
        kinds.setdefault(text, set()).add(kind)
    return {text: frozenset(some) for text, some in kinds.items()}


def _all(channels: Sequence[ChannelView], found: Relevance) -> Iterator[tuple[Kind, str]]:
    for channel in _cleaned(channels, dict.fromkeys(_single(found))):
        for family, say in answers.SINGLE.items():
            yield _TOLD.get(family, "reading"), say(channel)
    unknown = [clean(words) for words in found.unknown[:MAX_UNKNOWN]]
    yield from (("unknown", answers.unknown(words)) for words in unknown)
    for fits in (found.match, found.maybe):
        if fits:
            yield from _lists(_cleaned(channels, fits), unknown)
    if len(found.near) > 1:
        yield "near", answers.listed(_cleaned(channels, sorted(found.near)))
    several = found.match if len(found.match) > 1 else (*found.maybe, *found.near)
    for group in islice(groups_of([channels[c] for c in several]), MAX_GROUPS):
        other = {"highest": "lowest", "lowest": "highest"}.get(found.end or "")
        told = {**answers.GROUPED, "compare": answers.compare}
        said = ((kind, tell(group)) for kind, tell in told.items() if kind != other)
        yield from ((kind, text) for kind, text in said if text)
    whole = answers.WHOLE if not found.sure else {"other": answers.WHOLE["other"]}
    yield from ((_TOLD.get(family, family), of(channels)) for family, of in whole.items())


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


def _lists(fits: Sequence[ChannelView], unknown: Sequence[str]) -> Iterator[tuple[Kind, str]]:
    """Some channels together, and beside them what isn't there."""
    if len(fits) > 1:
        yield "listed", answers.listed(fits)
    known = answers.several(fits[:MAX_TOLD], len(fits))
    for words in unknown:
        yield "partly", answers.partly(known, words)


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

"""Which channels a question is about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from edgespike.sensing.picture import ChannelView

_WORD = re.compile(r"[^\W_]+")


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

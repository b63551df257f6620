"""Which channels a question means when it doesn't say their names: "what are the panels making?".

Each word of a question is either explained by a channel, by a word of its name, its quantity, unit
or state, or it costs. What explains what was learned from questions about known channels
(`training/associate.py`): a translation model of retrieval (Berger and Lafferty, "Information
Retrieval as Statistical Translation", SIGIR 1999) with weights of a logistic regression.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from edgespike.prompting.lexicon import lexicon
from edgespike.prompting.words import FUNCTION, QUANTITIES, cut, singular
from edgespike.sensing.picture import ChannelView

COST = ""
"""The token whose weight is what a word costs where nothing explains it."""

CACHED = 16384
"""Names of channels that are cut into words once; a picture with more is slower."""

MAX_WORDS = 48
"""Words of a question that are looked at."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """What the rules say: the words that each channel explains, the channels that match, whether
    by whole names, those that may, and whether something isn't there."""

    explained: Sequence[frozenset[str]]
    match: Collection[int] = ()
    sure: bool = False
    maybe: Collection[int] = ()
    lost: bool = False

    def features(self, index: int) -> tuple[bool, bool, bool, bool]:
        """Of a channel, in the order of the weights."""
        match = index in self.match
        return match, match and self.sure, index in self.maybe, self.lost


@dataclass(frozen=True, slots=True)
class Weights:
    """What makes a channel the one that is meant, in log odds.

    `bias` for none, `named` for a word of its name, `near` for what rules take for one (a typing
    error, another ending, an everyday word), `hint` for what the lexicon says of one, `missing` for
    a name of which nothing is said, `rival` times the distance to the best. `match`, `sure` and
    `maybe` for what the rules find so, `lost` where they find something that isn't there. A word
    that was never learned costs `strange`, `heard` if the lexicon has it, one that people use
    around names `usual`, one with digits `number`. `words`: of each word what it costs, and what
    explains it.
    """

    bias: float
    named: float
    near: float
    hint: float
    missing: float
    rival: float
    strange: float
    heard: float
    usual: float
    number: float
    match: float
    sure: float
    maybe: float
    lost: float
    words: Mapping[str, Mapping[str, float]]

    def cost(self, word: str) -> float:
        """What a word costs where nothing explains it, as a negative weight."""
        if (known := self.words.get(word)) is not None:
            return known[COST]
        weight: float = getattr(self, unlearned(word))
        return weight


def unlearned(word: str) -> str:
    """Which weight a word has that was never learned."""
    if any(map(str.isdigit, word)):
        return "number"
    if lexicon().passes(word):
        return "usual"
    return "heard" if lexicon().hinted(word) or (word,) in lexicon().same else "strange"


@cache
def learned() -> Weights:
    """The weights that come with the package."""
    text = (resources.files("edgespike") / "data" / "associations.json").read_text("utf-8")
    return Weights(**json.loads(text))


def spoken(text: str) -> tuple[str, ...]:
    """The distinct words of a question, in order, without plural endings."""
    words = cut(text, 4 * MAX_WORDS)  # many of them come again
    return tuple(dict.fromkeys(singular(word) for word, _, _ in words))[:MAX_WORDS]


@lru_cache(maxsize=CACHED)
def _named(name: str, quantity: str, unit: str) -> tuple[frozenset[str], frozenset[str]]:
    name_words = frozenset(singular(word) for word, _, _ in cut(name))
    beside = frozenset(f"kind:{singular(word)}" for word, _, _ in cut(quantity))
    return name_words, name_words | beside | {f"unit:{unit}"}


def tokens(channel: ChannelView) -> tuple[frozenset[str], frozenset[str]]:
    """The words of a channel's name, and all that can explain a word: these, and its quantity, unit
    and state."""
    name, known = _named(channel.name, channel.quantity, channel.unit)
    state = "is:#" if channel.number is not None or channel.unit else f"is:{channel.text}"
    return name, known | {state.casefold()}


@lru_cache(maxsize=CACHED)
def _hintable(name: str, quantity: str) -> frozenset[str]:
    return frozenset(singular(word) for word, _, _ in cut(f"{name} {quantity}"))


def hintable(channel: ChannelView) -> frozenset[str]:
    """The words of a channel that the lexicon may hint at."""
    return _hintable(channel.name, channel.quantity)


def names_another(word: str, weights: Weights) -> bool:
    """Whether a word of a question that a channel doesn't explain makes it another channel's: a
    number, a letter, a quantity, or a word that was never heard."""
    if len(word) == 1 or word in QUANTITIES or any(map(str.isdigit, word)):
        return word not in FUNCTION
    return word not in weights.words and unlearned(word) == "strange"


MARGIN = 0.6
"""Log odds that a channel needs to be taken for what is meant."""


def odds(
    channels: Sequence[ChannelView],
    question: str,
    ruled: Ruled,
    weights: Weights,
) -> list[float]:
    """Log odds of each channel that the question is about it."""
    words = spoken(question)
    costs = [weights.cost(word) for word in words]
    known = [weights.words.get(word, {}) for word in words]
    hinted = [lexicon().hinted(word) for word in words]
    either = frozenset[str]().union(*known, words)
    hinting = frozenset[str]().union(*hinted)
    base = weights.bias + sum(costs)
    found: list[float] = []
    rules = (weights.match, weights.sure, weights.maybe, weights.lost)
    for index, (channel, near) in enumerate(zip(channels, ruled.explained, strict=True)):
        name, all_tokens = tokens(channel)
        plain = hintable(channel)
        if not near and all_tokens.isdisjoint(either) and plain.isdisjoint(hinting):
            found.append(base - weights.missing + weights.lost * ruled.lost)  # most channels
            continue
        total, said = weights.bias, 0
        total += sum(w for w, true in zip(rules, ruled.features(index), strict=True) if true)
        for word, cost, explains, hints in zip(words, costs, known, hinted, strict=True):
            best = cost
            if word in name:
                best, said = max(best, weights.named), said + 1
            elif word in near:
                best = max(best, weights.near)
            elif not hints.isdisjoint(plain):
                best = max(best, weights.hint)
            for token in all_tokens:  # there are few; `explains` may have hundreds
                best = max(best, explains.get(token, best))
            total += best
        found.append(total - weights.missing * (1 - said / len(name) if name else 1.0))
    most = max(found, default=0.0)
    return [each - weights.rival * (most - each) for each in found]

"""Learns which words of questions stand for which words of channels.

A logistic regression over pairs of words on the questions of `situations/` and `phrasings/`,
each channel of a scene being meant or not; the weights go to `edgespike/data/associations.json`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import edgespike
from edgespike.prompting.answers import GROUPED, SINGLE, WHOLE
from edgespike.prompting.association import (
    COST,
    MARGIN,
    Weights,
    hintable,
    odds,
    spoken,
    tokens,
    unlearned,
)
from edgespike.prompting.lexicon import lexicon
from edgespike.prompting.relevance import ruled
from edgespike.sensing.picture import ChannelView
from training.phrasings import said
from training.scenes import Split, scene
from training.situations import Situated, Wording, situations
from training.turns import Asker

TARGET = Path(edgespike.__file__).parent / "data" / "associations.json"
SEEN = 2
"""A pair of words is learned when it was seen in so many situations."""

GENERAL = (
    *("bias", "missing", "rival", "match", "sure", "maybe", "lost"),
    *("named", "near", "hint", "strange", "heard", "usual", "number"),
)
_BEGIN = (-1.0, 1.0, 1.0, 1.0, 1.0, 0.5, -1.0, 1.5, 1.2, 1.0, -1.5, -1.0, -0.2, -3.0)
RARE = 5
FORGET = 0.4
"""Share of the words seen in fewer situations than RARE that are taken for ones never seen, so that
such get their weight."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question about some of the channels; `place` tells situations apart."""

    question: str
    channels: tuple[ChannelView, ...]
    meant: frozenset[int]
    place: int


def meant(asker: Situated, wording: Wording) -> frozenset[int] | None:
    """The channels that a question is about, or None where that can't be told."""
    if wording.family == "unknown" or wording.family in WHOLE:
        return frozenset()
    if wording.family in GROUPED:
        members = asker.kinds.get(wording.about[0], frozenset())
        return frozenset(members) if len(members) > 1 else None
    if all(name in asker.index for name in wording.about):
        return frozenset(asker.index[name] for name in wording.about)
    return None


def examples(rng: random.Random, split: Split, count: int) -> Iterator[Example]:
    """Questions of situations and of general phrasings, many where what they mean isn't there."""
    known = situations()[split]
    for number in range(count):
        if number % 3 == 0:
            yield from _general(rng, split)
            continue
        place = rng.randrange(len(known))
        asker = Situated(rng, split, known[place])
        if not asker.channels:
            continue
        wording = rng.choice(known[place].wordings)
        found = meant(asker, wording)
        if found is None:
            continue
        text = said(rng, rng.choice(wording.texts))
        style = rng.random()
        other = Situated(rng, split, rng.choice(known)).channels
        if style < 0.3:
            yield Example(text, _others(asker.channels, found), frozenset(), place)
        elif style < 0.5:
            if not ruled(other, text).match:
                yield Example(text, other, frozenset(), place)
        else:
            strangers = other[: rng.randrange(6)] if style < 0.65 else ()
            yield Example(text, (*asker.channels, *strangers), found, place)


def _others(channels: Sequence[ChannelView], found: frozenset[int]) -> tuple[ChannelView, ...]:
    return tuple(c for i, c in enumerate(channels) if i not in found)


def _general(rng: random.Random, split: Split) -> Iterator[Example]:
    """A question with names in it; one about all of a kind, or a place, means what rules find."""
    asker = Asker(rng, split, scene(rng, split, rng.randrange(2, 16)))
    family = rng.choice((*SINGLE, "several", "compare", *GROUPED, "place", *WHOLE))
    turn = asker.turn(family)
    if turn is None:
        return
    found = frozenset(turn.about)
    if family in WHOLE:
        yield Example(turn.question, asker.channels, frozenset(), -1)
        return
    if family in GROUPED or family == "place":
        found = frozenset(ruled(asker.channels, turn.question).maybe)
    elif rng.random() < 0.3:
        yield Example(turn.question, _others(asker.channels, found), frozenset(), -1)
        return
    if found:
        yield Example(turn.question, asker.channels, found, -1)


def _pairs(given: Sequence[Example]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Words with how often they were seen, and pairs of a word with a token of what was meant, both
    if often enough."""
    words: dict[str, set[int]] = {}
    pairs: dict[tuple[str, str], set[int]] = {}
    for at, each in enumerate(given):
        # General phrasings say nothing of names, which are random there.
        where = each.place if each.place >= 0 else -1 - at
        for word in spoken(each.question):
            words.setdefault(word, set()).add(where)
            for index in each.meant if each.place >= 0 else ():
                for token in tokens(each.channels[index])[1]:
                    pairs.setdefault((word, token), set()).add(where)
    often = {word: len(places) for word, places in words.items() if len(places) >= SEEN}
    return often, sorted(p for p, places in pairs.items() if len(places) >= SEEN and p[0] in often)


class _Table:
    """Examples as indices of weights: [channels, words, ways to explain a word]."""

    def __init__(self, given: Sequence[Example]) -> None:
        self.words, self.pairs = _pairs(given)
        begin = len(GENERAL)
        self._word = {w: begin + i for i, w in enumerate(self.words)}
        begin += len(self.words)
        self._pair = {p: begin + i for i, p in enumerate(self.pairs)}
        self.size = begin + len(self.pairs)

    def rows(
        self, rng: random.Random, each: Example
    ) -> tuple[list[list[list[int]]], list[float], list[tuple[bool, ...]]]:
        """Of each channel and word the indices, and of each channel the share of its name not said
        and what the rules say."""
        g = {name: i for i, name in enumerate(GENERAL)}
        rules = ruled(each.channels, each.question)
        near = rules.explained
        said_words = spoken(each.question)
        rare = {word for word in said_words if self.words.get(word, 0) < RARE}
        forgotten = {word for word in sorted(rare) if rng.random() < FORGET}
        rows, missing = [], []
        for index, channel in enumerate(each.channels):
            name, every = tokens(channel)
            plain = hintable(channel)
            row, count = [], 0
            for word in said_words:
                known = self._word.get(word) if word not in forgotten else None
                ways = [known or g[unlearned(word)]]
                if word in name:
                    ways.append(g["named"])
                    count += 1
                elif word in near[index]:
                    ways.append(g["near"])
                elif not lexicon().hinted(word).isdisjoint(plain):
                    ways.append(g["hint"])
                if known:
                    ways += [self._pair[word, t] for t in every if (word, t) in self._pair]
                row.append(ways)
            rows.append(row)
            missing.append(1 - count / len(name) if name else 1.0)
        return rows, missing, [rules.features(i) for i in range(len(rows))]


def learn(given: Sequence[Example], *, rounds: int, seed: int) -> Weights:
    """Fits the weights by Adam on batches of 256 questions."""
    torch.manual_seed(seed)
    table = _Table(given)
    theta = torch.zeros(table.size)
    theta[: len(GENERAL)] = torch.tensor(_BEGIN)
    theta[len(GENERAL) : len(GENERAL) + len(table.words)] = -0.2
    free = theta.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([free], lr=0.03)
    rng = random.Random(seed)
    packed = [
        _packed(rng, table, each) for each in given if each.channels and spoken(each.question)
    ]
    order = list(range(len(packed)))
    batches = len(order) // 256
    for step in range(rounds * batches):
        if step % batches == 0:
            rng.shuffle(order)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / (rounds * batches)) + 1e-4
        at = (step % batches) * 256
        loss = _loss(free, [packed[i] for i in order[at : at + 256]])
        own = free[len(GENERAL) + len(table.words) :]
        loss = loss + 2e-5 * own.abs().sum() + 1e-4 * (free**2).sum() / 10
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _weights(table, free.detach())


_Packed = tuple[Tensor, Tensor, Tensor, Tensor]


def _packed(rng: random.Random, table: _Table, each: Example) -> _Packed:
    rows, missing, rules = table.rows(rng, each)
    ways = max(len(w) for row in rows for w in row)
    index = torch.tensor([[w + [w[0]] * (ways - len(w)) for w in row] for row in rows])
    target = torch.tensor([float(i in each.meant) for i in range(len(rows))])
    return index, torch.tensor(missing), torch.tensor(rules, dtype=torch.float32), target


def _loss(theta: Tensor, batch: Sequence[_Packed]) -> Tensor:
    bias, missed, rival = theta[:3]
    ways = max(index.shape[2] for index, *_ in batch)
    flat = torch.cat(
        [
            torch.nn.functional.pad(index, (0, ways - index.shape[2]), mode="replicate").reshape(
                -1, ways
            )
            for index, *_ in batch
        ]
    )
    best = theta[flat].amax(-1)
    losses = []
    at = 0
    for index, missing, rules, target in batch:
        count, words = index.shape[:2]
        base = bias + best[at : at + count * words].view(count, words).sum(-1) - missed * missing
        base = base + rules @ theta[3:7]
        at += count * words
        score = base - rival * (base.max() - base)
        losses.append(
            torch.nn.functional.binary_cross_entropy_with_logits(score, target, reduction="sum")
        )
    return torch.stack(losses).mean()


def _weights(table: _Table, theta: Tensor) -> Weights:
    values = theta.tolist()
    words = {w: {COST: round(values[table._word[w]], 2)} for w in table.words}
    for (word, token), index in table._pair.items():
        # What explains a word no better than nothing does needs no entry.
        if values[index] > words[word][COST] + 0.05:
            words[word][token] = round(values[index], 2)
    general = dict(zip(GENERAL, (round(v, 3) for v in values), strict=False))
    return Weights(**general, words=words)


def accuracy(weights: Weights, given: Sequence[Example]) -> tuple[float, float]:
    """Shares of questions with a meaning, and without, of which exactly that is found."""
    right, asked = Counter[bool](), Counter[bool]()
    for each in given:
        rules = ruled(each.channels, each.question)
        scores = odds(each.channels, each.question, rules, weights)
        found = {i for i, score in enumerate(scores) if score > MARGIN}
        asked[bool(each.meant)] += 1
        right[bool(each.meant)] += found == each.meant
    return right[True] / max(1, asked[True]), right[False] / max(1, asked[False])


def associate(count: int, *, rounds: int, seed: int, target: Path = TARGET) -> None:
    """Learns from `count` questions, prints how well it does on others, and writes the weights."""
    given = list(examples(random.Random(seed), "train", count))
    weights = learn(given, rounds=rounds, seed=seed)
    held = list(examples(random.Random(seed), "dev", 2000))
    for name, some in (("train", given[:2000]), ("dev", held)):
        known, strange = accuracy(weights, some)
        print(f"{name}: {known:.1%} found, {strange:.1%} of what isn't there told so")
    text = json.dumps(asdict(weights), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    target.write_text(text.replace('},"', '},\n"') + "\n", encoding="utf-8")
    print(f"{target}: {len(weights.words)} words, {target.stat().st_size / 1e3:.0f} kB")

"""Learns what kind of statement a question asks for, for `edgespike/prompting/intent.py`: a
multinomial logistic regression over the kinds that can be said to each question.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import edgespike
from edgespike.prompting.intent import KINDS, Intents, features, key
from edgespike.prompting.question import MEANT, NAMED
from edgespike.prompting.relevance import Relevance
from training.dialogues import asker_of, found_turn
from training.scenes import Split
from training.turns import Turn

Log = Callable[[str], None]

TARGET = Path(edgespike.__file__).parent / "data" / "intents.npz"

BLOCK = 2000
"""Examples that one process makes at a time."""

TURNS = 5
"""Questions about a scene."""

KEPT = 40_000
"""Features that are kept, the strongest: of 147,000 as good as all of them, in under a megabyte."""

BATCH = 256
RATE = 0.02
FORGOTTEN = 0.3
"""Share of features that are left out at each look, so that a rest of them must do."""


@dataclass(frozen=True, slots=True)
class Example:
    """How a question is put and what fits it, which kinds can be said to it, and those that are
    right.
    """

    found: Relevance
    offered: frozenset[str]
    right: frozenset[str]


def examples(split: Split, count: int, seed: str) -> list[Example]:
    """Questions as the model is asked them; `seed` alone decides which."""
    rng = random.Random(seed)
    made: list[Example] = []
    while len(made) < count:
        asker = asker_of(rng, split)
        asked: list[Turn] = []
        for _ in range(TURNS):
            turn, found, said = found_turn(asker, asked)
            made.append(Example(found, frozenset().union(*said.values()), said[turn.answer]))
            asked.append(turn)
    return made[:count]


def many_examples(split: Split, count: int, seed: int, processes: int) -> list[Example]:
    """`examples` made side by side, the same whatever `processes` is."""
    seeds = [f"{seed}/{split}/{block}/intents" for block in range(-(-count // BLOCK))]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        made = pool.map(partial(examples, split, BLOCK), seeds)
        return [each for some in made for each in some][:count]


def words_of(given: Sequence[Example], least: int) -> frozenset[str]:
    """The words that at least `least` questions have and that name nothing."""
    counts = Counter(
        word
        for each in given
        for word in {w.removeprefix(MEANT) for w in each.found.words}
        if word != NAMED and not word.isdecimal()
    )
    return frozenset(word for word, count in counts.items() if count >= least)


def learn(
    given: Sequence[Example], *, rounds: int, seed: int, least: int, log: Log = lambda line: None
) -> Intents:
    """Intents of features that at least `least` of `given` have, learned in `rounds` over them."""
    known = words_of(given, least)
    named = [frozenset(map(key, features(each.found, known.__contains__))) for each in given]
    counts = Counter(k for keys in named for k in keys)
    kept = {key(word) for word in known}
    keys = np.array(sorted(k for k, n in counts.items() if n >= least or k in kept), np.uint32)
    place = {k: i for i, k in enumerate(keys.tolist())}
    rows = [np.array([place[k] for k in sorted(some) if k in place]) for some in named]
    offered, right = (
        torch.tensor([[kind in some for kind in KINDS] for some in kinds])
        for kinds in ([e.offered for e in given], [e.right for e in given])
    )
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    weights = torch.zeros(len(keys), len(KINDS), requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=RATE)
    steps = len(rows) // BATCH * rounds
    for step, batch in enumerate(_batches(rng, len(rows), rounds)):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps) + 1e-5
        left = [rows[i][rng.random(len(rows[i])) > FORGOTTEN] for i in batch]
        loss = _loss(_logits(weights, left), offered[batch], right[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % (steps // rounds) == 0:
            log(f"round {(step + 1) * rounds // steps} of {rounds}: loss {loss.item():.3f}")
    strong = _strongest(weights.detach().numpy(), np.isin(keys, list(kept)))
    return _stored(keys[strong], weights.detach().numpy()[strong])


def _batches(rng: np.random.Generator, count: int, rounds: int) -> Iterator[NDArray[np.int64]]:
    for _ in range(rounds):
        order = rng.permutation(count)
        yield from (order[at : at + BATCH] for at in range(0, count - BATCH + 1, BATCH))


def _logits(weights: Tensor, rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """Sums of weights [n, kinds], over the root of how many there are, as `Intents.odds` has it."""
    sizes = torch.tensor([len(row) for row in rows])
    starts = torch.cumsum(sizes, 0) - sizes
    flat = torch.from_numpy(np.concatenate(rows))
    sums = torch.nn.functional.embedding_bag(flat, weights, starts, mode="sum")
    return sums / sizes.clamp(min=1).sqrt()[:, None]


def _loss(logits: Tensor, offered: Tensor, right: Tensor) -> Tensor:
    odds = torch.log_softmax(logits.masked_fill(~offered, -1e9), dim=1)
    return -torch.logsumexp(odds.masked_fill(~right, -1e9), dim=1).mean()


def _strongest(weights: NDArray[np.float32], needed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the features, of weights [n, kinds], are kept: all that are `needed`, and those that
    tell the kinds apart best.
    """
    strength = np.abs(weights - weights.mean(axis=1, keepdims=True)).sum(axis=1)
    strength[needed] = np.inf
    chosen = np.zeros(len(weights), np.bool_)
    chosen[np.argsort(-strength, kind="stable")[:KEPT]] = True
    return chosen


def _stored(keys: NDArray[np.uint32], weights: NDArray[np.float32]) -> Intents:
    scale = float(np.abs(weights).max()) / 127
    return Intents(keys, np.round(weights / scale).astype(np.int8), scale)


def accuracy(intents: Intents, given: Sequence[Example]) -> float:
    """Share of questions whose likeliest kind, of those that can be said, is right."""
    hits = 0
    for each in given:
        odds = intents.odds(each.found)
        hits += max(each.offered, key=odds.__getitem__) in each.right
    return hits / len(given)


def write(target: Path, intents: Intents) -> None:
    with target.open("wb") as file:
        np.savez(file, keys=intents.keys, weights=intents.weights, scale=intents.scale)


def learn_intents(
    count: int, *, rounds: int, seed: int, least: int, processes: int, target: Path = TARGET
) -> None:
    """Learns from `count` questions, prints how well it does on others, and writes it."""
    given = many_examples("train", count, seed, processes)
    print(f"{len(given)} questions", flush=True)
    intents = learn(given, rounds=rounds, seed=seed, least=least, log=partial(print, flush=True))
    held = many_examples("dev", 2 * BLOCK, seed, processes)
    for name, some in (("train", given[: len(held)]), ("dev", held)):
        print(f"{name}: {accuracy(intents, some):.1%} right")
    write(target, intents)
    print(f"{target}: {intents.keys.size} features, {target.stat().st_size / 1e3:.0f} kB")

"""What kind of statement a question asks for, told by its wording alone: a linear classifier of its
n-grams (Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017), learned from
phrasings (`training/intents.py`).

It and the model err on different questions, so that both together are right more often than either:
what it finds is added to the model's logits where statements part, as a product of experts (Hinton,
"Training Products of Experts by Minimizing Contrastive Divergence", 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import groupby
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from edgespike.prompting.question import MEANT, NAMED
from edgespike.prompting.relevance import Relevance

KINDS = (
    "reading", "age", "stats", "unknown", "listed", "partly", "near", "highest", "lowest", "mean",
    "sum", "count", "states", "compare", "alarms", "stale", "summary", "total", "kinds", "other",
)  # fmt: skip
"""What statements tell, in the order of the weights."""

TRUST = 3.0
"""How much more these odds weigh than the model's, which is too sure of itself: the best of 0.5 to
4 on development questions."""

_NUMBER, _STRANGE = "0", "?"
_MANY = 3


@dataclass(frozen=True, slots=True)
class Intents:
    """What was learned: of each feature its `key`, uint32 [n], sorted, and `weights`, int8
    [n, kinds], which `scale` makes log odds of.
    """

    keys: NDArray[np.uint32]
    weights: NDArray[np.int8]
    scale: float

    def knows(self, word: str) -> bool:
        """Whether phrasings have a word."""
        return self._places({key(word)}).size > 0

    def odds(self, found: Relevance) -> dict[str, float]:
        """Log odds of KINDS, up to what they have in common."""
        places = self._places({key(feature) for feature in features(found, self.knows)})
        sums = self.weights[places].sum(axis=0, dtype=np.int64)
        logits = self.scale * sums / max(1, places.size) ** 0.5
        return dict(zip(KINDS, logits.tolist(), strict=True))

    def _places(self, keys: Collection[int]) -> NDArray[np.intp]:
        wanted = np.fromiter(keys, np.uint32, len(keys))
        places = np.searchsorted(self.keys, wanted)
        places = np.minimum(places, self.keys.size - 1)
        found: NDArray[np.intp] = places[self.keys[places] == wanted]
        return found


def key(feature: str) -> int:
    """What a feature is stored by: its CRC-32."""
    return crc32(feature.encode())


def features(found: Relevance, knows: Callable[[str], bool]) -> Iterator[str]:
    """One to three words in a row, two around a third, the letters of words that phrasings lack,
    and how the channels fit. Words that name a sensor are all the same.
    """
    plain = [_plain(word, knows) for word in found.words]
    words = ["^", *(w for w, run in groupby(plain) for _ in ((0,) if w == NAMED else run)), "$"]
    for length in (1, 2, 3):
        for at in range(len(words) - length + 1):
            yield " ".join(words[at : at + length])
    for before, after in zip(words, words[2:], strict=False):
        yield f"{before} * {after}"
    for word, shown in zip(found.words, plain, strict=True):
        if shown == _STRANGE:
            spelt = f"<{word}>"
            yield from (f"~{spelt[i : i + n]}" for n in (3, 4) for i in range(len(spelt) - n + 1))
    fits = (found.match, found.maybe, found.before, found.near, found.unknown)
    counts = [min(_MANY, len(some)) for some in fits]
    yield from (f"fits {place} {count}" for place, count in enumerate(counts))
    yield f"fits {counts}"
    yield f"sure {found.sure}"
    yield f"likely {found.likely is not None}"
    yield f"end {found.end}"


def _plain(word: str, knows: Callable[[str], bool]) -> str:
    """A word of `Relevance.words` as features have it."""
    if word == NAMED:
        return NAMED
    if word.startswith(MEANT):
        word = word.removeprefix(MEANT)
        return word if knows(word) else NAMED
    if word.isdecimal():
        return _NUMBER
    return word if knows(word) else _STRANGE


def weighed(
    statements: Mapping[str, Collection[str]], found: Relevance, intents: Intents
) -> dict[str, float]:
    """Each statement with what its likeliest kind adds to the logit of beginning it."""
    odds = intents.odds(found) if len(statements) > 1 else dict.fromkeys(KINDS, 0.0)
    return {text: TRUST * max(odds[kind] for kind in kinds) for text, kinds in statements.items()}


@cache
def learned_intents() -> Intents:
    """What comes with the package."""
    with (resources.files("edgespike") / "data" / "intents.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        return Intents(stored["keys"], stored["weights"], float(stored["scale"]))

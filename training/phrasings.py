"""How people ask: the phrasings of `phrasings/`, split, chosen and roughened as people type.

A file has sections, `[family]`, of one phrasing a line. `(a|b|)` is a choice, so that a line
stands for many sentences. {n} is a sensor's name, {p} a place or device, {q} a quantity, {s} a
state, {x} a thing, {a} and {b} two sensors. A line that begins with ~ is a clause {c} that follows
an opening of [indirect]. Of every ten lines of a family the ninth serves development and the tenth
the test: new ones go to its end, so that none moves.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from training.scenes import Split

OPENERS = (
    "Hi, ", "Hello, ", "Hey, ", "Hi! ", "Hello! ", "Please: ", "Quick question: ", "Tell me, ",
    "So, ", "OK, ", "Well, ", "Good morning, ", "Good evening! ", "Excuse me, ", "Sorry, ",
    "Say, ", "Listen, ", "Now, ", "Also, ", "By the way, ", "Hey there, ", "One thing: ",
)  # fmt: skip
THANKS = (
    " Thanks.", " Thank you.", " Please.", " Please answer.", " Thanks!", ", please?", " pls",
    ", thanks", " asap", " thx", " Cheers.", " Be brief.", " Short answer please.", " :)", " !",
)  # fmt: skip
"""What people say around a question, in every split."""

FOLDER = Path(__file__).with_name("phrasings")
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


def _split(lines: list[str]) -> dict[Split, tuple[str, ...]]:
    return {
        "train": tuple(t for i, t in enumerate(lines) if i % 10 < 8),
        "dev": tuple(t for i, t in enumerate(lines) if i % 10 == 8),
        "test": tuple(t for i, t in enumerate(lines) if i % 10 == 9),
    }


@cache
def templates() -> dict[str, dict[Split, tuple[str, ...]]]:
    """Phrasings by family and split."""
    families: dict[str, list[str]] = {}
    lines: list[str] = []
    for path in sorted(FOLDER.glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                lines = families.setdefault(line.strip("[]"), [])
            elif line:
                lines.append(line)
    return {family: _split(lines) for family, lines in families.items()}


def chosen(rng: random.Random, template: str) -> str:
    """A sentence of a template: one of each choice, inner ones first."""
    while found := _CHOICE.search(template):
        pick = rng.choice(found[1].split("|"))
        template = template[: found.start()] + pick + template[found.end() :]
    return " ".join(template.split()).replace(" ?", "?").replace(" ,", ",")


def ask(rng: random.Random, split: Split, family: str, **fill: str) -> str:
    """A question of `family`, roughened as people type."""
    template = rng.choice(templates()[family][split])
    if template.startswith("~"):
        clause = template[1:]
        template = chosen(rng, rng.choice(templates()["indirect"][split]))
        template = template.replace("{c}", clause)
    return said(rng, chosen(rng, template)).format(**fill)


def said(rng: random.Random, template: str) -> str:
    """A sentence as people type it: small letters, no question mark, a typing error, courtesies."""
    if rng.random() < 0.08:
        template = typo(rng, template)
    style = rng.random()
    small = template[0].lower() + template[1:]
    if style < 0.2:
        template = small
    elif style < 0.32:
        template = small.rstrip("?. ")
    elif style < 0.42:
        template = rng.choice(OPENERS) + small
    elif style < 0.5:
        template = template.rstrip("?. ") + rng.choice(THANKS)
    elif style < 0.56:
        template = template.rstrip("?.! ") + rng.choice(("?", "??", "!", ".", " ?", "?!"))
    elif style < 0.58:
        template = "".join(c.upper() if "{" not in template else c for c in template)
    return template


def typo(rng: random.Random, text: str) -> str:
    """One letter of a longer word dropped, doubled or swapped with the next; never in a slot."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 2)
    words[place] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )
    return " ".join(words)

"""Held-out question sets: scenes, names and phrasings that training never shows."""

from __future__ import annotations

import json
import random
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import edgespike
from edgespike.sensing.picture import ChannelView
from training.dialogues import scene_size
from training.scenes import Split, scene
from training.turns import WEIGHTS, Asker, Turn

QUESTIONS_PER_SCENE = 4
TARGET = Path(edgespike.__file__).parent / "data" / "qa-test.jsonl"


def _facts(channel: ChannelView) -> dict[str, Any]:
    """What differs from the defaults, ages in whole seconds."""
    facts = {}
    for field in fields(channel):
        value = getattr(channel, field.name)
        if field.default is MISSING or value != field.default:
            facts[field.name] = int(value) if field.name.endswith("_s") else value
    return facts


def write_questions(
    target: Path | None = None, *, count: int, seed: int, split: Split = "test"
) -> None:
    """Writes about `count` questions, as many of each family, one JSON line per scene.

    A line holds `taken_at`, `channels` (the entries of ChannelView that differ from its defaults)
    and `questions` (family, question, answer).
    """
    rng = random.Random(f"{seed}/{split}/questions")
    asked = dict.fromkeys(WEIGHTS, 0)
    target = target or TARGET
    lines = []
    while sum(asked.values()) < count:
        asker = Asker(rng, split, scene(rng, split, max(2, scene_size(rng))))
        picture = asker.scene.picture
        turns: list[Turn] = []
        for family in sorted(asked, key=lambda f: (asked[f], rng.random())):
            found = asker.turn(family)
            if found is not None:
                turns.append(found)
                asked[family] += 1
            if len(turns) == QUESTIONS_PER_SCENE:
                break
        lines.append(
            json.dumps(
                {
                    "taken_at": picture.taken_at,
                    "channels": [_facts(c) for c in picture.channels],
                    "questions": [
                        {"family": t.family, "question": t.question, "answer": t.answer}
                        for t in turns
                    ],
                },
                ensure_ascii=False,
            )
        )
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target}: {sum(asked.values())} questions about {len(lines)} scenes")

"""The tokenizer of the bundled model: a small BPE with split digits and byte fallback."""

from __future__ import annotations

import io
import random
import string
from itertools import islice
from pathlib import Path

import sentencepiece

from training.dialogues import corpus

CONTROLS = (
    "<|stream|>", "<|vision|>", "<|endofvision|>", "<|audio|>", "<|endofaudio|>", "<|think|>",
    "<|endofthink|>", "<|spike|>", "<|tool_call|>", "<|endoftool_call|>", "<|system|>",
    "<|endofsystem|>", "<|user|>", "<|endofuser|>", "<|assistant|>", "<|endofassistant|>",
)  # fmt: skip
"""Ids 4 to 19, spelt and ordered as in the public tokenizers."""


def train_tokenizer(
    target: Path, *, pieces: int = 1024, lines: int = 300_000, seed: int = 1
) -> None:
    """Writes a SentencePiece model of `pieces` pieces, learned from generated training text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=islice(corpus(random.Random(seed), "train"), lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        character_coverage=0.9995,
        required_chars=string.printable[:94] + "°µ²³·–äöüßéèàçñåøł",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=list(CONTROLS),
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        minloglevel=2,
        num_threads=1,
    )
    target.write_bytes(model.getvalue())

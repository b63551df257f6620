"""The tokenizer of the bundled model: a small BPE with split digits and byte fallback."""

from __future__ import annotations

import io
import random
import string
from itertools import islice
from pathlib import Path

import sentencepiece

from edgespike.errors import DataError
from edgespike.prompting.template import MARKS, piece
from edgespike.tokenizer import Tokenizer
from training.dialogues import corpus

CONTROLS = (
    "<|stream|>", "<|vision|>", "<|endofvision|>", "<|audio|>", "<|endofaudio|>", "<|think|>",
    "<|endofthink|>", "<|spike|>", "<|tool_call|>", "<|endoftool_call|>", "<|system|>",
    "<|endofsystem|>", "<|user|>", "<|endofuser|>", "<|assistant|>", "<|endofassistant|>",
)  # fmt: skip
"""Ids 4 to 19, spelt and ordered as in the public tokenizers."""

_USER_DEFINED = 4


def train_tokenizer(
    target: Path, *, pieces: int = 1024, lines: int = 300_000, seed: int = 1
) -> None:
    """Writes a SentencePiece model of `pieces` pieces, learned from generated training text.

    The marks of a focus follow the public control pieces.
    """
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
        user_defined_symbols=[*CONTROLS, *map(piece, MARKS)],
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        minloglevel=2,
        num_threads=1,
    )
    target.write_bytes(model.getvalue())


def extend_tokenizer(data: bytes, target: Path) -> None:
    """Writes the SentencePiece model `data` with the marks that it lacks as its last pieces.

    So a model that was trained before the marks were can learn them: its ids stay. Repeated fields
    of a serialised protobuf message may be appended to it.
    """
    known = Tokenizer(data)
    for name in map(piece, MARKS):
        try:
            known.control(name)
        except DataError:
            spelt = name.encode()
            body = bytes([0x0A, len(spelt)]) + spelt + bytes([0x15, 0, 0, 0, 0])
            body += bytes([0x18, _USER_DEFINED])
            data += bytes([0x0A, len(body)]) + body
    target.write_bytes(data)

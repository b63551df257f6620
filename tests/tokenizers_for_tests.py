"""A small SentencePiece model, trained when it is first needed."""

from __future__ import annotations

import io
from functools import cache

import sentencepiece

CONTROL = ["system", "endofsystem", "user", "endofuser", "assistant", "endofassistant"]


@cache
def small_tokenizer() -> bytes:
    """A byte-fallback BPE of 300 pieces, identity normalisation, with the chat control pieces."""
    text = ["the kitchen is warm", "boiler 91.2 rising", "is the pump on?", "humidity 40 %"] * 20
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=[f"<|{name}|>" for name in CONTROL],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()

"""Trains the bundled model: scenes -> dialogues -> tokenizer -> model -> official checkpoint."""

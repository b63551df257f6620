"""The same model in another precision, to tell what a precision costs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgespike.convert import convert
from edgespike.engine.model import Model, load


@contextmanager
def in_full_precision(model: Model, checkpoint: Path) -> Iterator[Model]:
    """The checkpoint that `model` was made from as an `fp32` model, for as long as it is used.

    It gets the tokenizer and the prompt template of `model`. Raises what `convert` raises.
    """
    container = model.container
    template = container.metadata.get("edgespike.prompt_template")
    with tempfile.TemporaryDirectory(prefix="edgespike-") as folder:
        tokenizer, target = Path(folder, "tokenizer.model"), Path(folder, "fp32.safetensors")
        if container.tokenizer is not None:
            tokenizer.write_bytes(container.tokenizer)
        convert(
            checkpoint,
            target,
            precision="fp32",
            tokenizer=tokenizer if container.tokenizer is not None else None,
            metadata={"prompt_template": json.loads(template)} if template else None,
        )
        twin = load(target, threads=model.threads, isa=model.isa)
        try:
            yield twin
        finally:
            twin.close()

"""Where the model that ships with the package lies."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edgespike.errors import MissingInputError


def bundled_model() -> Path:
    """Path of the bundled container; MissingInputError if this installation lacks it."""
    path = Path(str(resources.files("edgespike"))) / "data" / "bundled.safetensors"
    if not path.is_file():
        raise MissingInputError(f"{path}: the bundled model is missing: install edgespike again")
    return path

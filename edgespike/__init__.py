"""edgespike: an offline agent beside the sensors.

    import edgespike
    model = edgespike.load("model.safetensors")
    for piece in model.generate("Once upon a time", max_tokens=32):
        print(piece.text, end="")

Importing this package loads nothing heavy; `load` and `convert` do when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgespike.convert import convert as convert
    from edgespike.engine.model import load as load

__all__ = ["convert", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from edgespike.engine.model import load

        return load
    if name == "convert":
        from edgespike.convert import convert

        return convert
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

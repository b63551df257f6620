"""Checkpoints -> model files."""

from edgespike.convert.export import Conversion, convert

__all__ = ["Conversion", "convert"]

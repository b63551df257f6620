"""From sensor messages to a picture: decoders, window, statistics."""

from edgespike.sensing.window import Sensing

__all__ = ["Sensing"]

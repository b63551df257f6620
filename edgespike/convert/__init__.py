"""Checkpoints -> model files."""

import sys
from types import ModuleType

from edgespike.convert.export import Conversion, convert

__all__ = ["Conversion", "convert"]


class _CallableModule(ModuleType):
    """`edgespike.convert` is both this package and, in the public API, the function of that name.

    Importing the package binds it over the function, so the package itself has to be callable.
    """

    __call__ = staticmethod(convert)


sys.modules[__name__].__class__ = _CallableModule

"""The mapping of a model file, and how much of it stays in memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import UnavailableError


class FileMap:
    """A whole file, mapped read-only and shared with every process that maps it.

    `image` is uint8, the file from byte `start` on.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = start
        self._locked = False
        self.image: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, offset=start)

    def forget(self, offset: int, size: int) -> None:
        """Let go of the whole pages in `size` bytes of the image; they are read again when needed.
        What is locked stays.
        """
        page = mmap.PAGESIZE
        first = -(-(self._start + offset) // page) * page
        last = (self._start + offset + size) // page * page
        if first < last and hasattr(mmap, "MADV_DONTNEED") and not self._locked:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def lock(self) -> None:
        """Keep the file in memory, whatever else wants it. Raises UnavailableError when the system
        does not allow it.
        """
        address = ctypes.c_void_p(self.image.ctypes.data - self._start)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlock(address, ctypes.c_size_t(len(self._map))):
            reason = os.strerror(ctypes.get_errno())
            limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
            allowed = "" if limit == resource.RLIM_INFINITY else f" ({limit >> 10} KiB are allowed)"
            raise UnavailableError(
                f"can't lock the model's {len(self._map) >> 20} MiB into memory: {reason}{allowed}"
                "; set LimitMEMLOCK=infinity in the unit, or lock_memory: false"
            )
        self._locked = True

    def use_huge_pages(self) -> None:
        """Ask the system for huge pages for the file. Raises UnavailableError when it can't."""
        try:
            self._map.madvise(mmap.MADV_HUGEPAGE)
        except (AttributeError, OSError) as error:
            reason = getattr(error, "strerror", None) or "not a Linux system"
            raise UnavailableError(
                f"can't advise huge pages for the model: {reason}; set huge_pages: false"
            ) from error

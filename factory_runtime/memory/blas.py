"""How many threads numpy's matrix products take, held at one while texts are embedded or ranked."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

_PREFIXES = (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", ""))
_lock = threading.Lock()
_holders = 0
_threads_before = 0


class _OpenBlas(NamedTuple):
    """The two functions of the OpenBLAS that numpy's wheel carries."""

    get_threads: Callable[[], int]
    set_threads: Callable[[int], object]


@contextmanager
def one_blas_thread() -> Generator[None]:
    """Matrix products inside the block take one thread; the setting before it comes back after.

    The setting is the process's, so it is put back when the last of several blocks at once ends.
    A numpy without a bundled OpenBLAS is left alone.
    """
    blas = _openblas()
    if blas is None:
        yield
        return
    _hold(blas)
    try:
        yield
    finally:
        _release(blas)


def blas_threads() -> int | None:
    """How many threads a matrix product takes now; None where that cannot be known."""
    blas = _openblas()
    return None if blas is None else blas.get_threads()


def _hold(blas: _OpenBlas) -> None:
    global _holders, _threads_before
    with _lock:
        if _holders == 0:
            _threads_before = blas.get_threads()
            blas.set_threads(1)
        _holders += 1


def _release(blas: _OpenBlas) -> None:
    global _holders
    with _lock:
        _holders -= 1
        if _holders == 0:
            blas.set_threads(_threads_before)


@cache
def _openblas() -> _OpenBlas | None:
    import numpy as np

    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for library in sorted(folder.glob("*openblas*")):
            # numpy has loaded it already: this is a second handle on the same copy.
            found = _functions(ctypes.CDLL(str(library)))
            if found is not None:
                return found
    return None


def _functions(library: ctypes.CDLL) -> _OpenBlas | None:
    for before, after in _PREFIXES:
        try:
            return _OpenBlas(
                library[f"{before}openblas_get_num_threads{after}"],
                library[f"{before}openblas_set_num_threads{after}"],
            )
        except AttributeError:
            continue
    return None

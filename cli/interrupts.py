"""Ctrl-C, heard where a command can obey it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self


class Interrupts:
    """Ctrl-C between two looks, and not in the middle of one.

    Raised amid an import, it leaves half a module behind, and what the command does then, like
    cancelling a run, fails of that. A second one before the first was heard is raised where it
    finds us: what is under way may hang.
    """

    def __init__(self) -> None:
        self._heard = True

    def __enter__(self) -> Self:
        # Who starts us may have it ignored, or stop us in a way of their own.
        self._ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt: somebody has pressed Ctrl-C."""
        if not self._heard:
            self._heard = True
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._heard:
            signal.default_int_handler(number, frame)
        self._heard = False

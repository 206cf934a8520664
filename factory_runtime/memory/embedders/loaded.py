"""A model that is loaded with its first use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

Model = TypeVar("Model")


def loaded_once(load: Callable[[], Model]) -> Callable[[], Model]:
    """Gives the same model to every thread; one that could not be loaded is tried again."""
    loaded, lock = cache(load), threading.Lock()

    def model() -> Model:
        with lock:
            return loaded()

    return model

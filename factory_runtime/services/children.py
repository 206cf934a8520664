"""Programs that an attempt starts, none of which may outlive it."""

from __future__ import annotations

from typing import Any


class Children:
    def start(self, arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def kill_all(self) -> None:
        pass

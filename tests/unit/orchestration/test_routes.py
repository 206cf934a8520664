"""What routes need in Prefect, made by two at once."""

from __future__ import annotations

from typing import Any

import pytest

from factory_runtime.domain.errors import HostRejectedError
from factory_runtime.domain.route import Route
from factory_runtime.orchestration import routes
from factory_runtime.orchestration.prefect_api import GoneError
from factory_runtime.orchestration.routes import ensure_route

ROUTE = Route("gpu", "large")


class Raced:
    """A Prefect in which somebody else makes the same a moment before: what is made is refused."""

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps
        self.there: set[str] = set()

    def ask(self, method: str, path: str, body: Any = None, **names: Any) -> Any:
        if path == "/flows/":
            return {"id": "flow-1"}
        if (method, path) == ("POST", "/deployments/"):
            return {"id": "deployment-1"}  # it updates one that is there
        kind = "queue" if "queues" in path else "pool" if "pools" in path else "deployment"
        if method == "POST":
            if self.keeps:
                self.there.add(kind)
            raise HostRejectedError("Prefect answers with 409")
        if kind not in self.there:
            raise GoneError("there is none")
        return {}


def raced(monkeypatch: pytest.MonkeyPatch, *, keeps: bool) -> None:
    monkeypatch.setattr(routes, "ask", Raced(keeps).ask)


def test_what_another_made_meanwhile_is_there(monkeypatch: pytest.MonkeyPatch):
    raced(monkeypatch, keeps=True)
    assert ensure_route(ROUTE, "process") == ("deployment made",)


def test_what_is_refused_and_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch):
    raced(monkeypatch, keeps=False)
    with pytest.raises(HostRejectedError):
        ensure_route(ROUTE, "process")

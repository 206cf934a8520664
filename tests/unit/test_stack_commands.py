"""`factory up` beside a stack that is up already."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from cli import stack as module
from cli.doctor import LOOKS
from cli.door import open_stores
from deployments import stack
from deployments.stack import StackState
from factory_runtime.domain.errors import ConflictError
from factory_runtime.settings import Settings
from tests.api.served import Served

NO_API = "the Factory API ends again and again: see api.log; it is tried again at 14:05:00"


@pytest.fixture(autouse=True)
def standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackState:
    """A stack that another process keeps."""
    place = "http://127.0.0.1:4200/api"
    state = StackState(os.getpid(), "ready", place, keep=True, offers=(NO_API,))

    def answer(*_: Any, **__: Any) -> StackState:
        return state

    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    monkeypatch.setattr(stack, "find_stack", answer)
    monkeypatch.setattr(stack, "wait_for_stack", answer)
    return state


def test_in_the_foreground_it_is_a_conflict():
    with pytest.raises(ConflictError, match="the stack is up already"):
        module.up(foreground=True)


def test_in_the_background_it_is_said(capsys: pytest.CaptureFixture[str]):
    module.up()
    said = capsys.readouterr().out
    assert "the stack is up already" in said
    assert NO_API in said


def test_the_doctor_tells_what_it_offers(standing: StackState, monkeypatch: pytest.MonkeyPatch):
    server = FastAPI(openapi_url=None)
    server.add_api_route("/api/health", lambda: True)
    with Served(server) as served:
        here = replace(standing, api_url=f"{served.url}/api")

        def find(_: Settings) -> StackState:
            return here

        monkeypatch.setattr(stack, "find_stack", find)
        check = LOOKS["stack"]("stack", open_stores())
    assert (check.state, check.found) == ("ok", f"up, {here.api_url} answers; {NO_API}")

"""`factory up` beside a stack that is up already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cli import stack as module
from deployments import stack
from deployments.stack import StackState
from factory_runtime.domain.errors import ConflictError


@pytest.fixture(autouse=True)
def standing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that another process keeps."""
    state = StackState(os.getpid(), "ready", "http://127.0.0.1:4200/api", keep=True)

    def answer(*_: Any, **__: Any) -> StackState:
        return state

    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    monkeypatch.setattr(stack, "find_stack", answer)
    monkeypatch.setattr(stack, "wait_for_stack", answer)


def test_in_the_foreground_it_is_a_conflict():
    with pytest.raises(ConflictError, match="the stack is up already"):
        module.up(foreground=True)


def test_in_the_background_it_is_said(capsys: pytest.CaptureFixture[str]):
    module.up()
    assert "the stack is up already" in capsys.readouterr().out

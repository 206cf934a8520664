"""A forge in a process of its own, and how a test speaks to it there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.forge.forge import Forge

CONTROL = "/-/"


class Controlled:
    """The forge's app, and beside it what a test says, as ``POST /-/name`` with its arguments."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(CONTROL):
            await self._forge.app(scope, receive, send)
            return
        said = await Request(scope, receive).json()
        told = getattr(self._forge, scope["path"].removeprefix(CONTROL))
        if callable(told):
            told = told(*said["arguments"], **said["named"])
        answer = Response(json.dumps(told, default=_plain), media_type="application/json")
        await answer(scope, receive, send)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


class ForgeElsewhere:
    """Has whatever ``Forge`` has, by the same names: ``elsewhere.call("add_token")``.

    Attributes:
        url: of an organization, as ``Forge.url``.
        authority: that a client has to trust.
    """

    def __init__(self, url: str, authority: Path | None) -> None:
        self.url, self.authority = url, authority
        context = httpx.create_ssl_context()
        if authority:
            context.load_verify_locations(authority)
        self._host = url.rsplit("/", 1)[0]
        self._http = httpx.Client(verify=context, trust_env=False)

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Call a method, or look at an attribute."""
        body = {"arguments": arguments, "named": named}
        answer = self._http.post(f"{self._host}{CONTROL}{name}", json=body)
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        self._http.close()


@contextmanager
def forge_elsewhere(folder: Path, *options: str) -> Generator[ForgeElsewhere]:
    """One in a child, which ends with this block, or with this process.

    Raises:
        AssertionError: at the end, as ``running_forge``.
    """
    command = [sys.executable, "-m", "tests.forge", str(folder), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        elsewhere = ForgeElsewhere(
            told["url"], Path(told["authority"]) if told["authority"] else None
        )
        try:
            yield elsewhere
            wrong = elsewhere.call("wrong")
        finally:
            elsewhere.close()
            child.stdin.close()
            child.wait(20)
    assert not wrong, wrong

"""The forge on a real socket of the loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import trustme
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Droppable(HttpToolsProtocol):
    """Lets an app end its connection, as networks do."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {"forge.connection": self.transport}


def issued(folder: Path) -> tuple[Path, Path]:
    """A certificate with its key, and the authority that a client has to trust."""
    authority = trustme.CA()
    own, trusted = folder / "forge.pem", folder / "authority.pem"
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(own)
    authority.cert_pem.write_to_path(trusted)
    return own, trusted


@contextmanager
def serving(app: ASGIApp, certificate: Path | None = None) -> Generator[str]:
    """Its URL, while it serves in a thread."""
    config = uvicorn.Config(
        app,
        http=Droppable,
        ws="none",
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        # An answer is written in two pieces: the second would wait for the first to be seen. asyncio
        # sees to it by itself only where a socket was made for TCP by name.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            port = listening.getsockname()[1]
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()

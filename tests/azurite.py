"""An Azurite of our own: Microsoft's emulator of blob storage, on a port that it chooses itself.

Its account has a key that is made up for it, so nobody else's answers to it.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_runtime.settings import Settings
from tests.services import die_with_the_tests

# Every test run reads this file: what few tests need is imported by them.
if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from factory_runtime.memory.lance import Place

# `make azurite` puts it there.
PROGRAM = Path(__file__).parents[1] / ".azurite" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "factory"

_LISTENS = re.compile(r"successfully listens on https?://127\.0\.0\.1:(\d+)")
_PATIENCE_SECONDS = 60


class Azurite:
    """An emulator in a folder, which knows its key and what it has said.

    Attributes:
        folder: what it has said, and its key; what it keeps, where it keeps it.
        key: of its one account.
    """

    def __init__(
        self, folder: Path, *, keeps: bool = False, certificate: Path | None = None
    ) -> None:
        self.folder = folder
        self._certificate = certificate
        self._keeps = keeps
        self._child: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def key(self) -> str:
        return (self.folder / "key").read_text()

    @property
    def endpoint(self) -> str:
        """What ``FACTORY_MEMORY_ENDPOINT`` says; waits until it answers."""
        if self._certificate is not None:
            return f"https://localhost:{self._answers_at()}/{ACCOUNT}"
        return f"http://127.0.0.1:{self._answers_at()}/{ACCOUNT}"

    def settings(self, address: str, **others: Any) -> Settings:
        """Those of who has a memory at an address like ``container/prefix``."""
        given: dict[str, Any] = {
            "memory_url": f"az://{address}",
            "memory_account": ACCOUNT,
            "memory_endpoint": self.endpoint,
        }
        if "memory_sas_token" not in others:
            given["memory_account_key"] = self.key
        return Settings(**{**given, **others})

    def place(self, address: str, **others: Any) -> Place:
        from factory_runtime.memory.lance.chosen import chosen_place

        return chosen_place(self.settings(address, **others))

    def token(self, **may: bool) -> str:
        """A shared access signature of the account that may read and list, and more."""
        from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

        return generate_account_sas(
            ACCOUNT,
            self.key,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(read=True, list=True, **may),
            datetime.now(UTC) + timedelta(hours=1),
        )

    def container(self, address: str) -> ContainerClient:
        """Of an address like ``container/prefix``."""
        from azure.storage.blob import ContainerClient

        key = {"account_name": ACCOUNT, "account_key": self.key}
        return ContainerClient(self.endpoint, address.split("/")[0], credential=key)

    def start(self) -> None:
        """Start it, and do not wait. Started again, it has the port that it had."""
        assert PROGRAM.exists(), "Azurite is not installed: run `make azurite`"
        (self.folder / "log").unlink(missing_ok=True)
        kept = ["--location", str(self.folder)] if self._keeps else ["--inMemoryPersistence"]
        shown = self._certificate
        # Identities are known by tokens, which it takes over TLS alone; it does not look who signed.
        tls = [] if shown is None else ["--oauth", "basic", "--cert", shown, "--key", shown]
        with (self.folder / "log").open("wb") as log:
            self._child = subprocess.Popen(
                [
                    *(
                        PROGRAM,
                        "--blobHost",
                        "127.0.0.1",
                        "--blobPort",
                        str(self._port),
                        *kept,
                        *tls,
                    ),
                    *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
                ],
                env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_the_tests,
            )

    def stop(self) -> None:
        """End it: at once, or once it has written down what it is to keep."""
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM if self._keeps else signal.SIGKILL)
            self._child.wait(30)
            self._child = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _answers_at(self) -> int:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            log = self.folder / "log"
            said = log.read_text(errors="replace") if log.exists() else ""
            if found := _LISTENS.search(said):
                self._port = int(found[1])
                return self._port
            assert self._child is None or self._child.poll() is None, f"Azurite ended:\n{said}"
            assert time.monotonic() < give_up, f"Azurite does not answer:\n{said}"
            time.sleep(0.02)


@contextmanager
def running_azurite(*, keeps: bool = False, certificate: Path | None = None) -> Generator[Azurite]:
    """One that is starting.

    Args:
        keeps: it is to be restarted with what it has.
        certificate: of localhost, and its key: it speaks TLS, and takes tokens of identities.
    """
    folder = Path(tempfile.mkdtemp(prefix="factory-azurite-"))
    (folder / "key").write_text(base64.b64encode(secrets.token_bytes(64)).decode())
    azurite = Azurite(folder, keeps=keeps, certificate=certificate)
    try:
        azurite.start()
        yield azurite
    finally:
        azurite.stop()
        shutil.rmtree(folder, ignore_errors=True)

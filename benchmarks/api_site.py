"""The Factory API for a benchmark: ``factory api`` as people start it, on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from factory_runtime.wire.paths import API_PREFIX
from tests.services import PostgresServer, free_port

ROOT = Path(__file__).parent.parent
FACTORY = str(Path(sys.executable).with_name("factory"))
TENANT = "bench"
PROCESSES = 2
_PATIENCE = 60.0
_UNBOUND = "1000000/second"


@dataclass(frozen=True, slots=True)
class ApiSite:
    """One that answers.

    Attributes:
        url: of its host alone.
        headers: that come with every request.
    """

    url: str
    headers: dict[str, str]
    database_url: str
    variables: dict[str, str]

    def at(self, path: str) -> str:
        """The address of a path below the prefix."""
        return f"{self.url}{API_PREFIX}{path}"

    def factory(self, *words: str) -> dict[str, object]:
        """What a command prints as JSON."""
        command = [FACTORY, *words, "--json"]
        done = subprocess.run(
            command, env=self.variables, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)


@contextmanager
def api_site(postgres: PostgresServer) -> Generator[ApiSite]:
    """Start it on a database of its own, with a key of an operator; no rate is bounded."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="factory-bench-") as home, postgres.database() as url:
        variables = os.environ | {
            "FACTORY_HOME": home,
            "FACTORY_DATABASE_URL": url,
            "FACTORY_TENANT": TENANT,
            "FACTORY_SECRET_KEYS": '["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]',
            "FACTORY_API_RATE": _UNBOUND,
            "FACTORY_API_TENANT_RATE": _UNBOUND,
            "FACTORY_API_WEBHOOK_RATE": _UNBOUND,
            "FACTORY_API_WEBHOOK_TENANT_RATE": _UNBOUND,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        site = ApiSite(f"http://127.0.0.1:{port}", {}, url, variables)
        key = str(site.factory("keys", "add", "bench", "--role", "operator")["key"])
        site.headers["Authorization"] = f"Bearer {key}"
        site.headers["Content-Type"] = "application/json"
        process = subprocess.Popen(
            [FACTORY, "api", "--port", str(port), "--processes", str(PROCESSES)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(site, process)
            yield site
        finally:
            process.terminate()
            process.wait()


def _wait(site: ApiSite, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, "the API ended at once"
        assert time.monotonic() < until, "the API does not answer"
        try:
            if httpx.get(site.at("/runs"), headers=site.headers).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)

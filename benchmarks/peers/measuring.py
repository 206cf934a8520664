"""Measures every peer, each in processes of its own, which run in the peers' environment."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.fan_out import FanOut
from benchmarks.peers.figures import PeerFigures
from benchmarks.peers.watch_file import (
    Mark,
    jobs_ended,
    jobs_run_again,
    read_marks,
    seconds_to_next_job,
)

JOBS = 1000
ROUNDS = 3
KILLS = 3
JOB_SECONDS = 0.02
"""How long a job takes where the process is killed; elsewhere it takes no time."""

PYTHON = Path(".venv-peers/bin/python").absolute()
_PATIENCE = 600.0
"""Seconds after which a process of a peer is broken."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One row to measure.

    Attributes:
        tool: its name, and the way where it has several.
        module: of this package.
        opener: the module's function that opens the tool.
        by_hand: what a person has to do after a kill, besides starting the process again.
        storage: where the tool keeps its state.
        postgres: give it a database of a PostgreSQL server.
        jobs: of the fan-out, without the first and the last.
        rounds: how often to measure, after one warm-up.
        kills: how often to kill.
    """

    tool: str
    module: str
    opener: str
    by_hand: str
    storage: str = "SQLite"
    postgres: bool = False
    jobs: int = JOBS
    rounds: int = ROUNDS
    kills: int = KILLS


_NOTHING = "nothing: DBOS.launch() takes up what was open"
_INVOKE = "know the thread id, and invoke the graph with None"
_REEXECUTE = "mark the run failed, re-execute it from failure (a new run)"
_POSTGRES = "PostgreSQL, fsync off"
PEERS = (
    Peer("DBOS Transact, steps", "dbos_transact", "opened_steps", _NOTHING),
    Peer("DBOS Transact, queue", "dbos_transact", "opened_queue", _NOTHING),
    Peer("DBOS Transact, steps", "dbos_transact", "opened_steps", _NOTHING, _POSTGRES, True),
    Peer("DBOS Transact, queue", "dbos_transact", "opened_queue", _NOTHING, _POSTGRES, True),
    Peer("LangGraph, invoke", "lang_graph", "opened_invoke", _INVOKE),
    Peer("LangGraph, ainvoke", "lang_graph", "opened_ainvoke", _INVOKE),
    # A minute for each time the fan-out is executed: fewer times.
    Peer("Dagster, one process", "dagster_ops", "opened_in_process", _REEXECUTE, rounds=2, kills=2),
    # Its default executor starts a process per op, a second each: fewer jobs say the same.
    Peer("Dagster, process per op", "dagster_ops", "opened_processes", _REEXECUTE, jobs=18),
)


class PeersMissingError(Exception):
    """The peers' environment is not there."""

    def __init__(self) -> None:
        super().__init__(f"no {PYTHON}: `make bench-peers` installs the peers")


class PeerBrokenError(Exception):
    """A peer's process failed, or did not execute every job."""


def measure() -> tuple[PeerFigures, ...]:
    """All the peers' figures, in about a quarter of an hour.

    Raises:
        PeersMissingError: they are not installed.
        PeerBrokenError: one did not do what it should.
    """
    return tuple(measure_each())


def measure_each() -> Iterator[PeerFigures]:
    """The peers' figures one by one, as they are measured."""
    if not PYTHON.exists():
        raise PeersMissingError
    with ExitStack() as services:
        server: Any = None
        for peer in PEERS:
            if peer.postgres and server is None:
                from tests.services import running_postgres

                server = services.enter_context(running_postgres())
            yield _measured(peer, server)


def _measured(peer: Peer, server: Any) -> PeerFigures:
    with _place(peer, server) as place:
        arguments = ["measure", f"--rounds={peer.rounds}"]
        answer = _finished(place, arguments, FanOut(peer.jobs))
    kills: list[_Kill] = []
    for _ in range(peer.kills):
        with _place(peer, server) as place:
            kills.append(_kill(place))
    jobs = peer.jobs + 2
    return PeerFigures(
        tool=peer.tool,
        version=answer["version"],
        storage=peer.storage,
        jobs=jobs,
        jobs_per_second=jobs / statistics.median(answer["seconds"]),
        kill_to_next_job=statistics.median(kill.seconds for kill in kills),
        run_again=tuple(kill.run_again for kill in kills),
        by_hand=peer.by_hand,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one peer works: an empty folder, and a database where it wants one."""

    peer: Peer
    folder: Path
    url: str | None

    @property
    def answer(self) -> Path:
        return self.folder / "answer.json"

    @property
    def log(self) -> Path:
        return self.folder / "output.log"


@contextmanager
def _place(peer: Peer, server: Any) -> Generator[_Place]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="factory-peers-")))
        url = stack.enter_context(server.database(migrated=False)) if peer.postgres else None
        yield _Place(peer, folder, url)


@dataclass(frozen=True, slots=True)
class _Kill:
    seconds: float
    run_again: int


def _kill(place: _Place) -> _Kill:
    """Kill the tool half-way, let a new process recover, and read from the watch file what ran."""
    watch = place.folder / "watch"
    watch.touch()
    fan_out = FanOut(place.peer.jobs, JOB_SECONDS, str(watch))
    with _started(place, ["run"], fan_out) as child:
        _wait_until_half_way(place, child, fan_out, watch)
    killed_at = time.monotonic()  # it is gone by now: whatever begins later is the new process's
    _finished(place, ["recover"], fan_out)
    marks = _marks(watch)
    if missing := set(fan_out.names) - set(jobs_ended(marks)):
        raise PeerBrokenError(f"{place.peer.tool} never ran {len(missing)} jobs: {missing}")
    return _Kill(seconds_to_next_job(marks, killed_at), len(jobs_run_again(marks, killed_at)))


def _wait_until_half_way(
    place: _Place, child: subprocess.Popen[bytes], fan_out: FanOut, watch: Path
) -> None:
    give_up = time.monotonic() + _PATIENCE
    while len(jobs_ended(_marks(watch))) < fan_out.jobs // 2:
        if child.poll() is not None or time.monotonic() > give_up:
            raise PeerBrokenError(f"{place.peer.tool} did not get half-way:\n{_tail(place)}")
        time.sleep(0.005)


@contextmanager
def _started(
    place: _Place, arguments: list[str], fan_out: FanOut
) -> Generator[subprocess.Popen[bytes]]:
    """A process of the peer; killed, with all that it started, where the block ends."""
    peer = place.peer
    command = [PYTHON, "-m", "benchmarks.peers.child", peer.module, peer.opener]
    command += [*arguments[:1], place.folder, *arguments[1:], f"--answer={place.answer}"]
    command += [f"--url={place.url}"] if place.url else []
    environment: Mapping[str, str] = {**os.environ, **fan_out.to_environment()}
    with place.log.open("ab") as log:
        # A session of its own, so that one signal reaches the processes that it starts as well.
        child = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield child
    finally:
        _end(child)


def _finished(place: _Place, arguments: list[str], fan_out: FanOut) -> dict[str, Any]:
    """The answer of a process that came to its end."""
    with _started(place, arguments, fan_out) as child:
        try:
            code = child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        raise PeerBrokenError(f"{place.peer.tool} ended with {code}:\n{_tail(place)}")
    answer: dict[str, Any] = json.loads(place.answer.read_text())
    return answer


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _marks(watch: Path) -> tuple[Mark, ...]:
    return read_marks(watch.read_text())


def _tail(place: _Place) -> str:
    return "\n".join(place.log.read_text(errors="replace").splitlines()[-30:])

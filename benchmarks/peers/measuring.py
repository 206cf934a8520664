"""Measures every tool, each in processes of its own; the peers' run in the peers' environment."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.fan_out import FanOut
from benchmarks.peers.figures import PeerFigures
from benchmarks.peers.kills import (
    JOB_SECONDS,
    PATIENCE,
    Kill,
    PeerBrokenError,
    kill_of,
    wait_until_half_way,
)
from benchmarks.peers.plain_prefect import recorded_jobs
from benchmarks.peers.services import Services

JOBS = 1000
ROUNDS = 3
KILLS = 3

PYTHON = Path(".venv-peers/bin/python").absolute()

Recorded = Callable[[Path], frozenset[str]]
"""The jobs that a tool knows to have ended, from the folder it was given."""


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
        prefect: give it a Prefect server that lives on when it is killed.
        ours: it is killed as the stack is that `factory up` starts.
        python: what runs it.
        recorded: where its records of ended jobs can be read.
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
    prefect: bool = False
    ours: bool = False
    python: Path = PYTHON
    recorded: Recorded | None = None
    jobs: int = JOBS
    rounds: int = ROUNDS
    kills: int = KILLS


_NOTHING = "nothing: DBOS.launch() takes up what was open"
_INVOKE = "know the thread id, and invoke the graph with None"
_REEXECUTE = "mark the run failed, re-execute it from failure (a new run)"
_POSTGRES = "PostgreSQL, fsync off"
_OWN = Path(sys.executable)
_ENGINE = ("factory_engine", "opened")
_SWEPT = "nothing: the new process takes up what was left"
_EXECUTOR = "Factory, executor killed"
_RERUN = "know the flow run, set it AwaitingRetry, run its flow once more"
PEERS = (
    Peer(_EXECUTOR, *_ENGINE, _SWEPT, prefect=True, ours=True, python=_OWN),
    Peer("Factory, Prefect killed too", *_ENGINE, _SWEPT, ours=True, python=_OWN),
    Peer(_EXECUTOR, *_ENGINE, _SWEPT, _POSTGRES, True, prefect=True, ours=True, python=_OWN),
    Peer(
        "plain Prefect, flow killed",
        "plain_prefect",
        "opened",
        _RERUN,
        prefect=True,
        python=_OWN,
        recorded=recorded_jobs,
    ),
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


def measure() -> tuple[PeerFigures, ...]:
    """The figures of all, in about twenty minutes.

    Raises:
        PeersMissingError: they are not installed.
        PeerBrokenError: one did not do what it should.
    """
    return tuple(measure_each())


def measure_each(peers: Sequence[Peer] = PEERS) -> Iterator[PeerFigures]:
    """The peers' figures one by one, as they are measured."""
    if not all(peer.python.exists() for peer in peers):
        raise PeersMissingError
    with ExitStack() as stack:
        bench = _Bench(Services(stack))
        for peer in peers:
            yield bench.measured(peer)


class _Bench:
    """Measures one peer after the other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._speeds: dict[tuple[str, str, str], dict[str, Any]] = {}

    def measured(self, peer: Peer) -> PeerFigures:
        speed = self._speed(peer)
        kills = [self._kill(peer) for _ in range(peer.kills)]
        known = [kill.recorded_again for kill in kills if kill.recorded_again is not None]
        jobs = peer.jobs + 2
        return PeerFigures(
            tool=peer.tool,
            version=speed["version"],
            storage=peer.storage,
            jobs=jobs,
            jobs_per_second=jobs / statistics.median(speed["seconds"]),
            kill_to_next_job=statistics.median(kill.seconds for kill in kills),
            run_again=tuple(kill.run_again for kill in kills),
            recorded_again=tuple(known) or None,
            by_hand=peer.by_hand,
        )

    def _speed(self, peer: Peer) -> dict[str, Any]:
        """What its process measured; once for those that differ in how they are killed alone."""
        same = (peer.module, peer.opener, peer.storage)
        if same not in self._speeds:
            with self._place(peer) as place:
                arguments = ["measure", f"--rounds={peer.rounds}"]
                self._speeds[same] = _finished(place, arguments, FanOut(peer.jobs))
        return self._speeds[same]

    def _kill(self, peer: Peer) -> Kill:
        with self._place(peer) as place:
            watch = place.folder / "watch"
            watch.touch()
            fan_out = FanOut(peer.jobs, JOB_SECONDS, str(watch))
            if not peer.ours:
                return _kill(place, fan_out)
            from benchmarks.peers.factory_killed import kill_factory

            prefect = self._services.prefect_url if peer.prefect else None
            return kill_factory(
                peer.tool, place.folder, fan_out, database=place.url, prefect=prefect
            )

    @contextmanager
    def _place(self, peer: Peer) -> Generator[_Place]:
        with ExitStack() as stack:
            made = tempfile.TemporaryDirectory(prefix="factory-peers-")
            url = None
            if peer.postgres:
                url = stack.enter_context(self._services.postgres.database(migrated=False))
            elif peer.prefect and not peer.ours:
                url = self._services.prefect_url
            yield _Place(peer, Path(stack.enter_context(made)), url)


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


def _kill(place: _Place, fan_out: FanOut) -> Kill:
    """Kill the tool half-way, let a new process recover, and read from the watch file what ran."""
    peer = place.peer
    with _started(place, ["run"], fan_out) as child:
        wait_until_half_way(peer.tool, fan_out, lambda: child.poll() is None, lambda: _tail(place))
    killed_at = time.monotonic()  # it is gone by now: whatever begins later is the new process's
    recorded = peer.recorded(place.folder) if peer.recorded else None
    _finished(place, ["recover"], fan_out)
    return kill_of(peer.tool, fan_out, killed_at, recorded)


@contextmanager
def _started(
    place: _Place, arguments: list[str], fan_out: FanOut
) -> Generator[subprocess.Popen[bytes]]:
    """A process of the peer; killed, with all that it started, where the block ends."""
    peer = place.peer
    command = [peer.python, "-m", "benchmarks.peers.child", peer.module, peer.opener]
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
            code = child.wait(PATIENCE)
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


def _tail(place: _Place) -> str:
    return "\n".join(place.log.read_text(errors="replace").splitlines()[-30:])

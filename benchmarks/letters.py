"""The operator's list of dead letters: 100,000 open ones, grouped by kind over all tenants.

The store keeps counts with each letter that it writes. Beside the list stands the plain way, which
groups the letters themselves. PostgreSQL runs as it does for the tests.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random

from sqlalchemy import Connection, func, insert, select

from benchmarks.ratio import Ratio
from factory_runtime.domain.body import Body
from factory_runtime.domain.dead_letter import DeadLetter, FailureKind, LetterCount, LetterStatus
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore, open_run_store
from factory_runtime.run_store.engines import for_writing
from factory_runtime.run_store.records import FAILURE_KINDS, LETTER_COUNTS, LETTERS, RUNS
from factory_runtime.run_store.tables import dead_letters
from tests.services import running_postgres

LETTERS_IN_ALL = 100_000
TENANTS = 200
KINDS = 300
ROUNDS = 40
PLAIN_ROUNDS = 10
TARGET_MS = 100.0
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
_BATCH = 5_000


def main() -> tuple[Ratio, ...]:
    """Print p50 and p95 in milliseconds on both databases, and set them beside plain grouping."""
    ratios: list[Ratio] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="factory-bench-"))
        server = stack.enter_context(running_postgres())
        urls = {
            "SQLite": f"sqlite:///{Path(folder) / 'factory.db'}",
            "PostgreSQL": stack.enter_context(server.database()),
        }
        for name, url in urls.items():
            with closing(open_run_store(url)) as store:
                ratios += _figures(name, store)
    return tuple(ratios)


def _figures(name: str, store: SqlRunStore) -> tuple[Ratio, ...]:
    began = time.perf_counter()
    fill(store)
    took = time.perf_counter() - began
    print(f"{name}: {LETTERS_IN_ALL:,} letters of {TENANTS} tenants written in {took:.1f} s")
    groups = store.letter_groups(limit=KINDS)
    assert sum(group.letters for group in groups) == LETTERS_IN_ALL, "all of them are counted"
    everybody = _milliseconds(lambda: store.letter_groups(), ROUNDS)
    own = _milliseconds(lambda: store.letter_groups(tenant_id=_tenant(0)), ROUNDS)
    plain = _milliseconds(lambda: _group_the_letters(store), PLAIN_ROUNDS)
    for what, times in (
        ("all tenants", everybody),
        ("one tenant", own),
        ("plainly grouped, all tenants", plain),
    ):
        print(f"{name}: {what}: p50 {_share(times, 0.5):.1f} ms, p95 {_share(times, 0.95):.1f} ms")
    ratio = _share(everybody, 0.5) / _share(plain, 0.5)
    return (
        Ratio(f"ms of listing letters, p95, {name}", _share(everybody, 0.95), TARGET_MS),
        Ratio(f"listing letters / plain grouping, {name}", ratio, 0.5),
    )


def _milliseconds(action: Callable[[], object], rounds: int) -> list[float]:
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1e3)
    return sorted(times)


def _share(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))]


def _group_the_letters(store: SqlRunStore) -> int:
    """What the list tells, but for its words, by looking at every open letter."""
    columns = dead_letters.c
    query = (
        select(
            columns.fingerprint,
            func.count(),
            func.count(func.distinct(columns.tenant_id + "/" + columns.run_id)),
            func.count(func.distinct(columns.tenant_id)),
            func.min(columns.failed_at),
            func.max(columns.failed_at),
        )
        .where(columns.status == LetterStatus.OPEN)
        .group_by(columns.fingerprint)
        .order_by(func.count().desc())
    )
    with store.engine.connect() as connection:
        return len(connection.execute(query).all())


# --- what is in the store


def fill(store: SqlRunStore) -> None:
    """Runs that failed, each with its letter, and the counts that writing them would leave."""
    with store.engine.connect() as connection, for_writing(connection).begin():
        counts: dict[tuple[str, str], LetterCount] = {}
        letters = _letters(counts)
        while batch := list(islice(letters, _BATCH)):
            connection.execute(insert(RUNS.table), [RUNS.row_of(run) for run, _ in batch])
            rows = [LETTERS.row_of(letter) for _, letter in batch]
            connection.execute(insert(LETTERS.table), rows)
        _write_counts(connection, counts)


def _letters(counts: dict[tuple[str, str], LetterCount]) -> Iterator[tuple[Run, DeadLetter]]:
    chance = Random(1)  # noqa: S311 - the same letters each time
    prints = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(KINDS)]
    weights = [1 / (number + 1) for number in range(KINDS)]  # a few kinds are most of it
    for number, chosen in enumerate(chance.choices(prints, weights, k=LETTERS_IN_ALL)):
        tenant, at = _tenant(chance.randrange(TENANTS)), NOW + timedelta(seconds=number)
        run = _run(tenant, at)
        known = counts.get((tenant, chosen)) or LetterCount(tenant, chosen, 0, 0, at, at)
        counts[tenant, chosen] = replace(
            known, letters=known.letters + 1, runs=known.runs + 1, last_failed_at=at
        )
        yield run, _letter(run, chosen, at)


def _write_counts(connection: Connection, counts: dict[tuple[str, str], LetterCount]) -> None:
    connection.execute(
        insert(LETTER_COUNTS.table), [LETTER_COUNTS.row_of(c) for c in counts.values()]
    )
    kinds = [
        FailureKind(tenant, chosen, "repo-generation", "host-rejected", "the host refuses", NOW)
        for tenant, chosen in counts
    ]
    connection.execute(insert(FAILURE_KINDS.table), [FAILURE_KINDS.row_of(kind) for kind in kinds])


def _tenant(number: int) -> str:
    return f"tenant-{number:03}"


def _run(tenant: str, at: datetime) -> Run:
    return Run(
        id=new_id("run"),
        tenant_id=tenant,
        project_id="shop",
        template_id="microservice",
        template_version="1.0.0",
        template_digest="a" * 64,
        status=RunStatus.FAILED,
        inputs=Body(inline={}),
        requested_by="ada",
        requested_at=at,
        updated_at=at,
        completed_at=at,
        trace_id="0af7651916cd43dd8448eb211c80319c",
        correlation_id="order-4711",
    )


def _letter(run: Run, chosen: str, at: datetime) -> DeadLetter:
    return DeadLetter(
        id=new_id("letter"),
        tenant_id=run.tenant_id,
        run_id=run.id,
        step="generate-repo",
        project_id=run.project_id,
        template_id=run.template_id,
        template_version=run.template_version,
        job_type="repo-generation",
        fingerprint=chosen,
        error_code="host-rejected",
        error="the host refuses it: HTTP 403\nask its owner",
        attempts=5,
        trace_id=run.trace_id,
        first_failed_at=at,
        failed_at=at,
    )

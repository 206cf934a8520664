"""Bodies are deleted once nothing refers to them, whoever comes upon them meanwhile."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.errors import ArtifactNotFoundError, TransientError
from factory_runtime.domain.hold import HoldScope
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunStore, StoredBody
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.keep_artifacts import add_hold, release_hold, set_expiry
from factory_runtime.services.read_artifact import open_artifact
from factory_runtime.services.spared_bodies import SparingStorage
from factory_runtime.services.sweep_artifacts import EVERY, GRACE, ArtifactSweeper, SweptBodies
from tests.builders import TENANT, a_claimed_job, a_run, an_artifact
from tests.small_factory import SettableClock
from tests.stored import added

TEXT = b"orders: 3\n" * 10
DIGEST = hashlib.sha256(TEXT).hexdigest()
MARKED, DELETED, NOTHING = SweptBodies(1, 0), SweptBodies(0, 1), SweptBodies()


class KilledError(Exception):
    """Stands for a kill: nothing after it is done."""


class Place:
    """A store, a storage and a sweeper; an artifact of a run that has ended has expired."""

    def __init__(self, store: RunStore, folder: Path) -> None:
        self.store, self.folder, self.clock = store, folder, SettableClock()
        self.inner = LocalArtifactStorage(folder)
        self.storage = self.a_storage()
        self.sweeper = ArtifactSweeper(store, self.storage, self.clock)
        self.run = added(store, a_run(status=RunStatus.SUCCEEDED, completed_at=self.clock.now()))

    def a_storage(self, looked_for: timedelta = timedelta(0)) -> SparingStorage:
        """As another process has it."""
        return SparingStorage(self.inner, lambda: self.store, looked_for)

    def keep(self, run: Run | None = None, text: bytes = TEXT, **values: Any) -> Artifact:
        stored = self.storage.put(TENANT, text)
        facts = {"uri": stored.uri, "sha256": stored.digest, "expires_at": self.clock.now()}
        artifact = an_artifact(run or self.run, **{**facts, **values})
        with self.store.begin(TENANT) as tx:
            tx.add_artifacts([artifact])
        return artifact

    def sweep_later(self) -> SweptBodies:
        self.clock.pass_time(GRACE)
        return self.sweeper.sweep()

    def is_there(self) -> bool:
        return self.inner.verify(TENANT, DIGEST)


@pytest.fixture
def place(sqlite_store: SqlRunStore, tmp_path: Path) -> Place:
    return Place(sqlite_store, tmp_path / "artifacts")


@pytest.fixture
def any_place(database_store: SqlRunStore, tmp_path: Path) -> Place:
    return Place(database_store, tmp_path / "artifacts")


def test_an_expired_body_goes_an_hour_after_it_was_marked_and_its_record_stays(
    any_place: Place,
) -> None:
    place = any_place
    artifact = place.keep()
    assert place.sweeper.sweep() == MARKED
    place.clock.pass_time(GRACE - timedelta(seconds=1))
    assert (place.sweeper.sweep(), place.is_there()) == (NOTHING, True)
    place.clock.pass_time()
    assert (place.sweeper.sweep(), place.is_there()) == (DELETED, False)
    with place.store.begin(TENANT, read_only=True) as tx:
        found = tx.get_artifact(artifact.id)
        (entry,) = tx.list_audit()
    assert (found.body_deleted_at, found.has_body) == (place.clock.now(), False)
    assert (entry.action, entry.subject) == ("artifact.delete", DIGEST)
    assert entry.detail == {"artifacts": [artifact.id]}
    assert place.sweep_later() == NOTHING


def test_what_does_not_expire_is_kept_for_good(place: Place) -> None:
    place.keep(expires_at=None)
    place.clock.pass_time(timedelta(days=9999))
    assert place.sweeper.sweep() == place.sweep_later() == NOTHING
    assert place.is_there()


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.WAITING, RunStatus.FAILED])
def test_a_run_that_may_go_on_keeps_what_it_made(place: Place, status: RunStatus) -> None:
    place.keep(added(place.store, a_run(status=status)))
    assert place.sweeper.sweep() == place.sweep_later() == NOTHING
    assert place.is_there()


def test_another_artifact_keeps_the_body_until_it_expires_too(place: Place) -> None:
    place.keep()
    place.keep(name="another", expires_at=place.clock.now() + timedelta(days=1))
    assert place.sweeper.sweep() == NOTHING
    place.clock.pass_time(timedelta(days=1))
    assert place.sweeper.sweep() == MARKED
    assert (place.sweep_later(), place.is_there()) == (DELETED, False)


@pytest.mark.parametrize("scope", HoldScope)
def test_a_hold_keeps_a_body_until_it_is_released(place: Place, scope: HoldScope) -> None:
    artifact = place.keep()
    subject = place.run.id if scope is HoldScope.RUN else artifact.id
    assert place.sweeper.sweep() == MARKED
    with place.store.begin(TENANT) as tx:
        hold = add_hold(tx, scope, subject, "asked for", "ada", place.clock.now())
        assert tx.count_dying() == 0
    assert place.sweep_later() == place.sweep_later() == NOTHING
    with place.store.begin(TENANT) as tx:
        release_hold(tx, hold.id, "bob", place.clock.now())
    assert (place.sweeper.sweep(), place.sweep_later()) == (MARKED, DELETED)


def test_what_a_plan_of_an_open_run_renders_is_kept(place: Place) -> None:
    """The plan lies in storage, and names its sources there."""
    place.keep()
    plan = place.storage.put(TENANT, b'{"sources": {"files/base": "%s"}}' % DIGEST.encode())
    body = Body(reference=BodyReference(plan.digest, plan.size))
    added(place.store, a_run(status=RunStatus.PAUSED, plan=body))
    assert place.sweeper.sweep() == place.sweep_later() == NOTHING
    assert place.is_there()


def test_what_an_open_run_was_asked_with_is_kept(place: Place) -> None:
    place.keep()
    inputs = Body(inline={"copy": [f"artifact:sha256:{DIGEST}"]})
    added(place.store, a_run(status=RunStatus.QUEUED, inputs=inputs))
    assert place.sweeper.sweep() == NOTHING


def test_a_body_that_an_ended_run_shows_is_kept(place: Place) -> None:
    place.keep()
    outputs = Body(reference=BodyReference(DIGEST, len(TEXT)))
    added(place.store, a_run(status=RunStatus.SUCCEEDED, outputs=outputs))
    assert place.sweeper.sweep() == NOTHING


# --- whoever comes upon the body between its mark and its deletion


def _put(storage: SparingStorage) -> None:
    storage.put(TENANT, io.BytesIO(TEXT))


def _exists(storage: SparingStorage) -> None:
    assert storage.exists(TENANT, DIGEST)


def _verify(storage: SparingStorage) -> None:
    assert storage.verify(TENANT, DIGEST)


@pytest.mark.parametrize("come_upon", [_put, _exists, _verify])
def test_whoever_comes_upon_a_marked_body_keeps_it(
    any_place: Place, come_upon: Callable[[SparingStorage], None]
) -> None:
    """Their row is written later than the sweep has looked for rows."""
    place = any_place
    place.keep()
    assert place.sweeper.sweep() == MARKED
    place.clock.pass_time(GRACE)
    come_upon(place.a_storage())
    assert place.sweeper.sweep() == MARKED  # anew: the hour begins again
    assert place.is_there()
    place.keep(name="their row", expires_at=None)
    assert place.sweep_later() == NOTHING
    assert place.is_there()


def test_a_look_at_the_marks_that_is_a_minute_old_is_good_enough(place: Place) -> None:
    place.keep()
    storage = place.a_storage(timedelta(hours=9))
    _exists(storage)  # it looks, and nothing is marked
    assert place.sweeper.sweep() == MARKED
    _exists(storage)  # it does not look again
    place.clock.pass_time(timedelta(minutes=1))
    place.keep(name="their row", expires_at=None)
    assert place.sweep_later() == NOTHING
    assert place.is_there()


def test_a_job_that_has_run_since_before_the_mark_is_waited_for(place: Place) -> None:
    """It may have come upon the body hours ago, and writes its row when it ends."""
    place.keep()
    run = a_run(status=RunStatus.RUNNING)
    job = a_claimed_job(run, last_attempt_at=place.clock.now())
    added(place.store, run, job)
    place.clock.pass_time(timedelta(seconds=30))
    assert place.sweeper.sweep() == MARKED
    assert place.sweep_later() == place.sweep_later() == NOTHING
    assert place.is_there()
    with place.store.begin(TENANT) as tx:
        tx.save_job(job, job.move_to(JobStatus.SUCCEEDED, place.clock.now(), lease_expires_at=None))
    assert place.sweep_later() == DELETED


class Hooked:
    """The storage, with something happening just before or after a body's deletion."""

    def __init__(self, inner: LocalArtifactStorage) -> None:
        self._inner = inner
        self.before = self.after = lambda: None

    def delete(self, tenant_id: str, digest: str) -> None:
        self.before()
        self._inner.delete(tenant_id, digest)
        self.after()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _hooked(place: Place) -> Hooked:
    hooked: Any = Hooked(place.inner)
    place.sweeper.storage = hooked
    return hooked


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("one_way", [False, True])
def test_who_stores_a_body_while_it_is_deleted_waits_and_has_it_stored(
    any_place: Place, monkeypatch: pytest.MonkeyPatch, moment: str, *, one_way: bool
) -> None:
    place = any_place
    place.keep()
    assert place.sweeper.sweep() == MARKED
    storage, hooked = place.a_storage(), _hooked(place)
    written, done, refused = threading.Event(), threading.Event(), list[str]()
    inner_put = place.inner.put

    def put_and_tell(tenant_id: str, body: BinaryIO | bytes) -> StoredBody:
        stored = inner_put(tenant_id, body)
        written.set()
        return stored

    def put() -> None:
        try:
            storage.put(TENANT, OneWay(TEXT) if one_way else io.BytesIO(TEXT))
        except TransientError as error:
            refused.append(str(error))
        done.set()

    def come_in() -> None:
        writer.start()
        assert written.wait(20)
        assert not done.wait(0.1)  # it waits for the sweep

    monkeypatch.setattr(place.inner, "put", put_and_tell)
    writer = threading.Thread(target=put)
    setattr(hooked, moment, come_in)
    assert place.sweep_later() == DELETED
    assert done.wait(20)
    writer.join(20)
    # Only what was written before the deletion, and cannot be read again, has to come once more.
    assert len(refused) == (one_way and moment == "before")
    assert place.is_there() == (not refused)


class OneWay(io.BytesIO):
    """A stream that cannot be read again."""

    def seekable(self) -> bool:
        return False


def test_a_sweep_killed_at_the_deletion_is_finished_by_the_next(any_place: Place) -> None:
    place = any_place
    artifact = place.keep()
    assert place.sweeper.sweep() == MARKED
    hooked = _hooked(place)

    def die() -> None:
        raise KilledError

    hooked.before = die
    with suppress(KilledError):
        place.sweep_later()
    assert place.is_there()
    hooked.before, hooked.after = lambda: None, die
    with suppress(KilledError):
        place.sweeper.sweep()
    assert not place.is_there()
    with place.store.begin(TENANT, read_only=True) as tx:
        assert tx.get_artifact(artifact.id).body_deleted_at is None
    hooked.after = lambda: None
    assert place.sweeper.sweep() == DELETED
    with place.store.begin(TENANT, read_only=True) as tx:
        assert tx.get_artifact(artifact.id).body_deleted_at == place.clock.now()


_DIES = """
import os, sys
from datetime import datetime
from pathlib import Path
from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.run_store import open_run_store
from factory_runtime.services.sweep_artifacts import ArtifactSweeper

url, folder, now, moment = sys.argv[1:]

class Dying(LocalArtifactStorage):
    def delete(self, tenant_id, digest):
        if moment == "after":
            super().delete(tenant_id, digest)
        os._exit(9)

class At:
    def now(self):
        return datetime.fromisoformat(now)

ArtifactSweeper(open_run_store(url), Dying(Path(folder)), At()).sweep()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_amid_the_sweep_loses_nothing(
    any_place: Place, database_url: str, moment: str
) -> None:
    place = any_place
    artifact = place.keep()
    other = place.keep(name="other", text=b"other", expires_at=None)
    assert place.sweeper.sweep() == MARKED
    place.clock.pass_time(GRACE)
    told = [database_url, str(place.folder), place.clock.now().isoformat(), moment]
    killed = subprocess.run([sys.executable, "-c", _DIES, *told], check=False, timeout=60)
    assert killed.returncode == 9
    assert place.is_there() == (moment == "before")
    with place.store.begin(TENANT, read_only=True) as tx:
        assert tx.get_artifact(artifact.id).body_deleted_at is None
        assert tx.count_dying() == 1
    assert (place.sweeper.sweep(), place.is_there()) == (DELETED, False)
    assert place.inner.verify(TENANT, str(other.sha256))


def test_a_body_is_stored_in_the_midst_of_a_transaction(any_place: Place) -> None:
    """As the outputs of a run are, with its end: the look at the marks waits for nobody."""
    place = any_place
    storage = place.a_storage()
    with place.store.begin(TENANT) as tx:
        tx.mark_dying(["f" * 64], place.clock.now())
        assert storage.put(TENANT, TEXT).digest == DIGEST
    assert place.is_there()


def test_who_comes_upon_a_body_that_a_killed_sweep_has_deleted_stores_it_again(
    place: Place,
) -> None:
    place.keep()
    assert place.sweeper.sweep() == MARKED
    hooked = _hooked(place)

    def die() -> None:
        raise KilledError

    hooked.after = die
    with suppress(KilledError):
        place.sweep_later()
    storage = place.a_storage()
    assert not storage.exists(TENANT, DIGEST)
    _put(storage)
    hooked.after = lambda: None
    assert place.sweeper.sweep() == MARKED
    assert place.is_there()


def test_two_sweeps_at_once_delete_each_body_once(any_place: Place) -> None:
    place = any_place
    for number in range(20):
        place.keep(name=str(number), text=b"body %d" % number)
    barrier, swept = threading.Barrier(2), list[SweptBodies]()

    def sweep() -> None:
        sweeper = ArtifactSweeper(place.store, place.storage, place.clock)
        barrier.wait(20)
        swept.append(sweeper.sweep())

    for counted in ("marked", "deleted"):
        swept.clear()
        both = [threading.Thread(target=sweep) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join(60)
        assert len(swept) == 2
        if counted == "deleted":
            assert sum(one.deleted for one in swept) == 20
        place.clock.pass_time(GRACE)
    with place.store.begin(TENANT, read_only=True) as tx:
        assert len(tx.list_audit()) == 20
        assert tx.count_dying() == 0


def test_an_artifact_kept_at_the_last_moment_is_kept_or_known_to_be_gone(any_place: Place) -> None:
    place = any_place
    artifact = place.keep()
    assert place.sweeper.sweep() == MARKED
    hooked, kept = _hooked(place), list[str]()

    def keep() -> None:
        try:
            with place.store.begin(TENANT) as tx:
                set_expiry(tx, artifact.id, "ada", place.clock.now(), None)
            kept.append("kept")
        except ArtifactNotFoundError as error:
            kept.append(str(error))

    keeper = threading.Thread(target=keep)
    hooked.after = keeper.start
    assert place.sweep_later() == DELETED
    keeper.join(20)
    (said,) = kept
    assert "deleted already" in said


def test_a_body_deleted_behind_our_back_is_noted_like_one_of_ours(place: Place) -> None:
    artifact = place.keep()
    place.inner.delete(TENANT, DIGEST)
    assert (place.sweeper.sweep(), place.sweep_later()) == (MARKED, DELETED)
    with place.store.begin(TENANT, read_only=True) as tx:
        assert tx.get_artifact(artifact.id).body_deleted_at is not None


def test_a_reader_who_has_begun_gets_the_whole_body(place: Place) -> None:
    artifact = place.keep()
    body, size = open_artifact(place.storage, artifact)
    assert (place.sweeper.sweep(), place.sweep_later()) == (MARKED, DELETED)
    with body:
        assert (body.read(), size) == (TEXT, len(TEXT))
    with pytest.raises(ArtifactNotFoundError):
        open_artifact(place.storage, artifact)


def test_the_hourly_sweep_leaves_alone_what_was_just_swept(place: Place) -> None:
    place.keep()
    assert place.sweeper.sweep_if_due() == MARKED
    other = ArtifactSweeper(place.store, place.storage, place.clock)
    place.clock.pass_time(EVERY - timedelta(seconds=1))
    assert other.sweep_if_due() == NOTHING
    place.clock.pass_time()
    assert other.sweep_if_due() == DELETED

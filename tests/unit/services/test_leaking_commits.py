"""A commit that holds a secret is not made, and nothing of its run says the secret from then on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.dead_letter import LetterFilter, LetterStatus
from factory_runtime.domain.errors import SecretLeakError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.result import JobResult
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.ports import CommitOrder, GitHost, JobContext
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.guards import guarded_host
from tests.builders import NOON, TENANT
from tests.small_factory import SmallFactory, steps
from tests.surfaces import rows_of

KEY = "AKIA" + "Q3EGRWJZ7N5TMC2X"
TRAILERS = (("Factory-Run", "r"), ("Factory-Step", "a"))
ORDER = CommitOrder("shop", "orders", "all", TRAILERS, "me", NOON)
HARMLESS = TreeFile("readme.md", b"hello\n")


@pytest.fixture
def local(tmp_path: Path) -> GitHost:
    host = LocalGitHost(tmp_path / "git")
    host.ensure_repository(TENANT, "shop", "orders", effect_key="k", description="")
    return host


@pytest.mark.parametrize(
    ("message", "file", "place"),
    [
        ("all", TreeFile("src/a.py", f"x = 1\ny = '{KEY}'\n".encode()), "src/a.py:2"),
        ("all", TreeFile(f"{KEY}.md", b"hello"), "the name of a file:1"),
        ("all", TreeFile("a", b"", link=f"b/{KEY}"), "the name of a file:2"),
        (f"all\n\nwith {KEY}", HARMLESS, "the commit's message:3"),
    ],
)
def test_a_commit_with_a_secret_is_not_made(
    local: GitHost, message: str, file: TreeFile, place: str
) -> None:
    host = guarded_host(local, Secrets())
    with pytest.raises(SecretLeakError) as error:
        host.ensure_commit(TENANT, replace(ORDER, message=message), [HARMLESS, file])
    assert f"{place}: AWS Access Key" in str(error.value)
    assert KEY not in error.value.explain()
    assert local.find_commit(TENANT, "shop", "orders", TRAILERS) is None
    made = host.ensure_commit(TENANT, ORDER, [HARMLESS])
    assert (made.created, made.files) == (True, 1)


def test_its_job_is_a_dead_letter_and_the_run_says_the_secret_nowhere(
    tmp_path: Path, database_store: SqlRunStore
) -> None:
    factory = SmallFactory(tmp_path / "templates", database_store)
    factory.host.ensure_repository(TENANT, "shop", "orders", effect_key="k", description="")

    def commit(context: JobContext, with_: Any) -> JobResult:
        def files() -> Iterator[TreeFile]:
            yield HARMLESS
            yield TreeFile("src/a.py", f"x = 1\ny = '{with_['text'].upper()}'\n".encode())

        context.host.ensure_commit(TENANT, ORDER, files())
        return JobResult()

    def tell(context: JobContext, with_: Any) -> JobResult:
        del with_
        context.log(f"found {KEY}")
        return JobResult(outputs={"said": KEY})

    factory.on |= {"a": commit, "b": tell}
    # In small letters it stands in the plan, and is none; as it is committed, it is one.
    text = steps(f"a: on-failure: continue, with: {{text: {KEY.lower()}}}", "b: needs: [a]")
    run = factory.complete(text.replace("on-failure", "on_failure"))
    jobs = factory.jobs(run)
    assert (jobs["a"].status, jobs["b"].status) == (JobStatus.FAILED, JobStatus.SUCCEEDED)
    assert (jobs["a"].attempt, jobs["b"].attempt) == (1, 1)
    with factory.store.begin(TENANT, read_only=True) as tx:
        (letter,) = tx.list_dead_letters(LetterFilter(tuple(LetterStatus), run_id=run.id), limit=10)
    assert letter.error_code == "secret-leak"
    assert "src/a.py:2: AWS Access Key" in letter.error
    assert factory.host.find_commit(TENANT, "shop", "orders", TRAILERS) is None
    assert not any(KEY in row for row in rows_of(factory.store))
    assert any("found (redacted)" in row for row in rows_of(factory.store))

"""Credentials that a job is lent: whose they are, and that they stay with it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import HostBusyError, SecretLeakError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run
from factory_runtime.domain.tree import TreeFile
from factory_runtime.ports import CommitOrder, Credentials, JobContext
from tests.builders import NOON, TENANT
from tests.small_factory import SmallFactory, steps
from tests.surfaces import forms_of, rows_of
from tests.work_types import Leak

CANARY = "s3cr3t/Can+ary 7391&x"


class Book:
    """Keeps one token, for one tenant; or is away."""

    def __init__(self, *tenants: str) -> None:
        self.tenants = frozenset(tenants)
        self.kept = CANARY
        self.is_away = False

    def credentials_of(self, kind: str, name: str) -> Credentials:
        assert (kind, name) == ("factory-git-host", "ops")
        if self.is_away:
            raise HostBusyError("Prefect is away")
        return Credentials(name, {"token": self.kept}, frozenset({self.kept}), self.tenants)


class Lent(Leak):
    """Stands where templates say ``act``; does what a test says, if it says anything."""

    facts = replace(Leak.facts, name="act")

    def __init__(self, behaviours: Any) -> None:
        self._behaviours = behaviours

    def publish(self, context: JobContext, with_: Any, tree: Any) -> Any:
        behaviour = self._behaviours.get(context.facts.step)
        return behaviour(context, with_) if behaviour else super().publish(context, with_, tree)


def lending(factory: SmallFactory, book: Book) -> None:
    lent = Lent(factory.on)
    factory.job_types["act"] = lent
    factory.catalog = replace(factory.catalog, job_types={"act": lent.facts})
    factory.desk = replace(factory.desk, catalog=factory.catalog)
    factory.engine = replace(factory.engine, credentials=book)


def told(how: str, folder: Path, name: str = "block:ops") -> str:
    return steps(f"a: with: {{how: {how}, file: '{folder}/seen', credentials: '{name}'}}")


def leaks(factory: SmallFactory) -> list[str]:
    return [row for row in rows_of(factory.store) if any(f in row for f in forms_of(CANARY))]


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("result", JobStatus.SUCCEEDED),
        ("again", JobStatus.SUCCEEDED),
        ("wait", JobStatus.SUCCEEDED),
        ("error", JobStatus.FAILED),
        ("body", JobStatus.FAILED),
    ],
)
def test_whatever_a_job_says_of_its_credentials_nothing_keeps_them(
    factory: SmallFactory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
    status: JobStatus,
) -> None:
    lending(factory, Book(TENANT))
    run = factory.complete(told(how, tmp_path))
    assert factory.jobs(run)["a"].status is status
    assert leaks(factory) == []
    assert any("(redacted)" in row for row in rows_of(factory.store))
    assert "said (redacted)" in caplog.text
    assert not any(form in caplog.text for form in forms_of(CANARY))


@pytest.mark.parametrize(
    ("tenants", "name", "why"),
    [
        ((), "block:ops", "is not for the tenant"),
        (("umbrella",), "block:ops", "is not for the tenant"),
        (("*",), "ops", "names no credentials"),
        (("*",), "", "names no credentials"),
        (("*",), "block:", "names no credentials"),
        (("*",), "block:../../other-kind/block_documents/name/llm", "names no credentials"),
        (("*",), "block:ops?x=1", "names no credentials"),
    ],
)
def test_only_those_that_a_tenant_may_use_are_lent(
    factory: SmallFactory, tmp_path: Path, tenants: tuple[str, ...], name: str, why: str
) -> None:
    lending(factory, Book(*tenants))
    job = job_of(factory, factory.complete(told("result", tmp_path, name)))
    assert job.status is JobStatus.FAILED
    assert why in str(job.error)
    assert job.attempt == 1
    assert not (tmp_path / "seen").exists()


def test_a_job_whose_credentials_cannot_be_asked_for_is_tried_again(
    factory: SmallFactory, tmp_path: Path
) -> None:
    book = Book("*")
    lending(factory, book)
    walk = factory.start(told("result", tmp_path))
    book.is_away = True
    factory.attempt(walk, "a")
    book.is_away = False
    factory.finish(walk, "a")
    assert job_of(factory, walk.run).attempt == 2
    assert job_of(factory, walk.run).status is JobStatus.SUCCEEDED


def test_a_secret_too_short_to_be_found_is_not_lent(factory: SmallFactory, tmp_path: Path) -> None:
    book = Book("*")
    book.kept = "sh0rt"
    lending(factory, book)
    job = job_of(factory, factory.complete(told("result", tmp_path)))
    assert "fewer than 8 characters" in str(job.error)
    assert not (tmp_path / "seen").exists()


def test_a_type_that_takes_no_credentials_gets_none(factory: SmallFactory) -> None:
    def ask(context: JobContext, with_: Any) -> Any:
        del with_
        return context.credentials()

    factory.on["a"] = ask
    job = job_of(factory, factory.complete(steps("a:")))
    assert "the job type act takes no credentials" in str(job.error)


def test_a_commit_that_holds_a_secret_is_not_made(factory: SmallFactory, tmp_path: Path) -> None:
    lending(factory, Book("*"))
    refused: list[str] = []

    def commit(context: JobContext, with_: Any) -> Any:
        del with_
        context.credentials()
        order = CommitOrder(
            "shop", "orders", "all", (("Factory-Run", "r"), ("Factory-Step", "a")), "me", NOON
        )
        for message, content in ((CANARY, b"x"), ("all", f"x={CANARY}".encode())):
            changed = replace(order, message=message)
            with pytest.raises(SecretLeakError) as error:
                context.host.ensure_commit(TENANT, changed, [TreeFile("a", content)])
            refused.append(str(error.value))
        raise ValueError("done")

    factory.on["a"] = commit
    factory.host.ensure_repository(TENANT, "shop", "orders", effect_key="k", description="")
    factory.complete(told("result", tmp_path))
    assert len(refused) == 2


def test_logs_are_as_they_are_once_no_job_has_credentials(
    factory: SmallFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lending(factory, Book("*"))
    factory.complete(told("result", tmp_path))
    caplog.clear()
    try:
        raise ValueError("how many: %s")
    except ValueError:
        logging.getLogger("elsewhere").exception("it is %d %s", 5, {"a": 1})
    assert "it is 5 {'a': 1}" in caplog.text
    assert "ValueError: how many: %s" in caplog.text


def job_of(factory: SmallFactory, run: Run) -> Any:
    return factory.jobs(run)["a"]

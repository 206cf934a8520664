"""Runs of one step that sends a request, over the real services and a real job type."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.records import Effect
from factory_runtime.domain.run import Run
from factory_runtime.jobs.http_request import HttpRequest
from factory_runtime.ports import Credentials, RunStore
from factory_runtime.services.bodies import from_body
from factory_runtime.services.engine import Walk
from factory_runtime.settings import Settings
from tests.builders import TENANT
from tests.small_factory import THRICE, SmallFactory

CANARY = "s3cr3t/Can+ary 7391&x"
STEP = "call"

_SERIAL = count()


class Book:
    """Keeps one block of a web service.

    Attributes:
        fields: of it, beside its secret.
    """

    def __init__(self, *hosts: str, **fields: Any) -> None:
        self.fields: dict[str, Any] = {"secret": CANARY, "hosts": list(hosts), **fields}

    def credentials_of(self, kind: str, name: str) -> Credentials:
        assert (kind, name) == ("factory-http", "shop")
        secret = frozenset({str(self.fields["secret"])})
        return Credentials(name, self.fields, secret, frozenset({TENANT}))


def on_disk(folder: Path, store: RunStore) -> SmallFactory:
    """A small factory that another process can go on with."""
    small = SmallFactory(folder, store)
    storage: Any = LocalArtifactStorage(folder.parent / "artifacts")
    small.storage = storage
    small.desk = replace(small.desk, storage=storage)
    small.engine = replace(small.engine, storage=storage)
    return small


def may_send_to(factory: SmallFactory, *hosts: str, book: Book | None = None) -> None:
    """Have the factory's jobs send requests to these hosts."""
    factory.job_types["http-request"] = HttpRequest(lambda: Settings(http_hosts=hosts))
    facts = {name: one.facts for name, one in factory.job_types.items()}
    factory.catalog = replace(factory.catalog, job_types=facts)
    factory.desk = replace(factory.desk, catalog=factory.catalog)
    if book is not None:
        factory.engine = replace(factory.engine, credentials=book)


def ask_for(factory: SmallFactory, **with_: Any) -> Run:
    """A run of one step with this ``with``, tried thrice."""
    step = f"{{name: {STEP}, type: http-request, {THRICE}, with: {json.dumps(with_)}}}"
    name = f"calling-{next(_SERIAL)}"
    factory.template(f"steps:\n  - {step}\n", name=name)
    return factory.request(name)


def begin(factory: SmallFactory, **with_: Any) -> Walk:
    """Such a run, taken up."""
    run = ask_for(factory, **with_)
    return factory.take_up(run, f"flow-{run.id}")


def call(factory: SmallFactory, **with_: Any) -> Run:
    """A whole run of it."""
    return factory.drive(begin(factory, **with_))


def outputs(factory: SmallFactory, run: Run) -> dict[str, Any]:
    job = factory.jobs(run)[STEP]
    assert job.outputs is not None, job.error
    found: dict[str, Any] = from_body(factory.storage, run.tenant_id, job.outputs)
    return found


def error(factory: SmallFactory, run: Run) -> str:
    """Why it failed, on its first attempt."""
    job = factory.jobs(run)[STEP]
    assert job.attempt == 1, "it was tried again"
    return str(job.error)


def ledger(factory: SmallFactory, run: Run) -> Effect:
    (effect,) = factory.effects(run)
    return effect

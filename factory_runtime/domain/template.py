"""A Template: a versioned recipe, read and checked; and what the compiler knows of a job type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from factory_runtime.domain.run import Priority


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a job is tried again.

    Attributes:
        max_attempts: the first one included, 1 to 20.
        delays: wait before attempt 2, 3, …; the last one repeats.
        jitter: a delay is stretched by a random share up to this, 0 to 1.
    """

    max_attempts: int = 5
    delays: tuple[timedelta, ...] = tuple(timedelta(seconds=s) for s in (1, 2, 4, 8))
    jitter: float = 0.3

    def delay_before(self, attempt: int) -> timedelta:
        """The wait before this attempt (2 or more), without jitter."""
        if not self.delays:
            return timedelta(0)
        return self.delays[min(attempt - 2, len(self.delays) - 1)]


@dataclass(frozen=True, slots=True)
class CacheRule:
    """Whether and for how long a render may be taken from the cache; None is for ever."""

    enabled: bool = True
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class OnFailure:
    """What becomes of the run when a job's last attempt failed."""

    action: Literal["fail", "continue", "compensate", "fallback"] = "fail"
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class JobTypeFacts:
    """What a job type says about itself; the compiler needs no more.

    Attributes:
        name: like ``repo-generation``; its topic is ``factory.jobs.repo-generation``.
        version: part of every cache key: raise it whenever the same ``with`` gives other files.
        with_schema: JSON Schema of ``with``. A value that is an expression is checked when known.
        source_keys: keys of ``with`` that name a folder of the template.
        sources: folders the type brings along, by name; rendered like a template's own.
        undos: names of the undos it offers.
        retry: the policy where neither step nor template says one.
        reads_checkpoints_of: other versions of the type whose checkpoints this one understands.
            One of any other version is left aside, and the job begins anew.
        hosts: names of the outside hosts it needs: while one of them is down, no attempt begins.
            ``git`` is the git host, whatever it is called.
        credentials: the block type that ``credentials: block:NAME`` in ``with`` names one of, like
            ``factory-git-host``; None where it takes none.
    """

    name: str
    version: str
    with_schema: Mapping[str, Any]
    source_keys: tuple[str, ...] = ("source",)
    sources: Mapping[str, Path] = field(default_factory=dict[str, Path])
    undos: tuple[str, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta = timedelta(minutes=10)
    reads_checkpoints_of: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    credentials: str | None = None

    @property
    def topic(self) -> str:
        return f"factory.jobs.{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """A template's declared unit of work. Expressions stand as written.

    Attributes:
        with_: what the job type is told, expressions unevaluated.
        reads: names of the steps its expressions read.
    """

    name: str
    type: str
    needs: tuple[str, ...] = ()
    with_: Mapping[str, Any] = field(default_factory=dict[str, Any])
    each: str | None = None
    when: str | None = None
    priority: Priority = Priority.NORMAL
    retry: RetryPolicy | None = None
    timeout: timedelta | None = None
    cache: CacheRule = CacheRule()
    on_failure: OnFailure = OnFailure()
    undo: str | None = None
    approval: Mapping[str, Any] | None = None
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """When runs of a template begin by themselves, once it is deployed.

    Attributes:
        cron: five fields; None where there is an interval.
        interval: between two of them; None where there is a cron.
        timezone: its name, like ``Europe/Berlin``.
        inputs: what each of them is given.
    """

    cron: str | None = None
    interval: timedelta | None = None
    timezone: str = "UTC"
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class WebhookTrigger:
    """Which events begin runs of a template by themselves, and what these are given.

    Attributes:
        source: the name of a source of webhooks, or a kind of them.
        when: an expression over ``event``; None is every event of the source.
        map: input → value, with expressions over ``event``.
    """

    source: str
    when: str | None = None
    map: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Template:
    """A template folder, read and found to be in order.

    Attributes:
        docs: address of a page for people; empty where there is none.
        folder: where it was read from.
        digest: SHA-256 over every file of the folder, 64 hex digits.
        sources: every source folder its steps name, as named in ``with`` → where it lies.
        inputs_schema: JSON Schema 2020-12, closed.
        triggers: as written; ``schedule`` and ``webhook`` are what they say of these.
    """

    id: str
    version: str
    title: str
    description: str
    folder: Path
    digest: str
    inputs_schema: Mapping[str, Any]
    steps: tuple[Step, ...]
    sources: Mapping[str, Path] = field(default_factory=dict[str, Path])
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    deadline: timedelta | None = None
    triggers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    schedule: Schedule | None = None
    docs: str = ""
    webhook: WebhookTrigger | None = None

"""Job types for tests that run real processes: FACTORY_JOB_TYPES=tests.work_types."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from base64 import b64encode
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import HostBusyError, TransientError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder, WaitUntil
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.domain.tree import TreeFile
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.ports import CommitOrder, FileTree, GitHost, JobContext

ANYTHING: Mapping[str, Any] = {"type": "object"}
QUICK = RetryPolicy(max_attempts=5, delays=(timedelta(seconds=0.1),), jitter=0)


class Work:
    """What all of them share: nothing to render, nothing to look for."""

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect
        return None


class Count(Work):
    """Counts to ``to`` in a file, a checkpoint after each number; stops at safe points."""

    facts = JobTypeFacts("count", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        done = int((context.checkpoint() or {"done": 0})["done"])
        for number in range(done + 1, with_["to"] + 1):
            context.safe_point()
            append(with_["file"], str(number))
            context.progress(number / with_["to"], f"counted to {number}")
            context.save_checkpoint({"done": number})
            time.sleep(with_.get("pause", 0.05))
        return JobResult(outputs={"counted": with_["to"]})


class Touch(Work):
    """Appends a line to a file: an outside effect that can be counted. Its probe reads the file."""

    facts = JobTypeFacts("touch", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        key, file = context.facts.effect_key, with_["file"]
        with gates(context, with_):
            time.sleep(with_.get("before", 0))
            if context.intend("line", f"line in {file}", {"file": file}) is None:
                time.sleep(with_.get("between", 0))
                context.check_lease()
                append(file, key)
            time.sleep(with_.get("after", 0))
        return JobResult(effects=(ConfirmedEffect("line", key),))

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host
        lines = lines_of(effect.facts["file"])
        return effect.effect_key if effect.effect_key in lines else None


class GatedRepository(RepoGeneration):
    """repo-generation, held up on either side of what it does."""

    facts = replace(RepoGeneration.facts, name="gated-repo", with_schema=ANYTHING)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        with gates(context, with_):
            return super().publish(context, with_, tree)


class Sleep(Work):
    """Takes a while, in a program of its own or in this process, asked to stop or not."""

    facts = JobTypeFacts("sleep", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        if with_.get("child"):
            program = f"import time; time.sleep({with_['seconds']})"
            child = context.start_child([sys.executable, "-c", program])
            append(with_["file"], str(child.pid))
            child.wait()
        elif with_.get("deaf"):
            time.sleep(with_["seconds"])
        else:
            until = time.monotonic() + with_["seconds"]
            while time.monotonic() < until:
                context.check_cancelled()
                time.sleep(0.02)
        return JobResult()


class Flaky(Work):
    """Fails a number of times as a host does that is busy, then goes through."""

    facts = JobTypeFacts("flaky", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        append(with_["file"], str(context.facts.attempt))
        if len(lines_of(with_["file"])) <= with_["times"]:
            after = with_.get("retry_after")
            raise TransientError(
                "come back later", retry_after=None if after is None else timedelta(seconds=after)
            )
        return JobResult()


class Forge(Flaky):
    """Needs an outside host called ``forge``, which is down while a file is there."""

    facts = JobTypeFacts("forge", "1", ANYTHING, source_keys=(), retry=QUICK, hosts=("forge",))

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        append(with_["asked"], context.facts.run_id)
        if Path(with_["down"]).exists():
            raise HostBusyError("the forge does not answer")
        return JobResult()


class Await(Work):
    """Is Waiting until a file is there, looking every so many seconds."""

    facts = JobTypeFacts("await", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        del tree
        if Path(with_["file"]).exists():
            return JobResult()
        due = context.now() + timedelta(seconds=with_["every"])
        return WaitUntil(due, f"waits for {with_['file']}")


class Leak(Work):
    """Shows its credentials at every place that a job type reaches; ``how`` says at which it ends.

    Each place gets them as they are, and as they stand in what is encoded. It hands them to
    ``Echo`` in a file called ``aside``, where a test says so.
    """

    facts = JobTypeFacts(
        "leak", "1", ANYTHING, source_keys=(), retry=QUICK, credentials="factory-git-host"
    )

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        del tree
        token = str(context.credentials().fields["token"])
        append(with_["file"], hashlib.sha256(token.encode()).hexdigest())
        said = said_of(token)
        if "aside" in with_:
            append(with_["aside"], token)
        show(context, said)
        logging.getLogger("factory.leak").warning("said %s", said)
        context.log(said)
        context.progress(0.5, said)
        context.save_checkpoint({"said": said, token: [said]})
        context.intend("leak", said, {"said": said})
        effects = (ConfirmedEffect("leak", said, link=f"https://host/{said}"),)
        match with_["how"]:
            case "commit":
                commit(context, f"x = '{said}'")
            case "body":
                context.storage.put(context.facts.tenant_id, BytesIO(said.encode()))
            case "error":
                try:
                    raise KeyError(said)
                except KeyError as error:
                    raise ValueError(said) from error
            case "again" if context.facts.attempt == 1:
                raise HostBusyError(said, hint=said)
            case "wait" if context.facts.attempt == 1:
                return WaitUntil(context.now(), said, effects, {"build_id": said})
            case _:
                pass
        uri, facts = f"https://host/{said}", {"said": said}
        draft = ArtifactDraft(ArtifactKind.FILE, said, uri, "text/plain", metadata=facts)
        outputs = {"said": said, "list": [said], token: 1}
        return JobResult(outputs, (draft,), effects, {"build_id": said}, degraded=said)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect
        return None


class Echo(Work):
    """Says at every place what another job of its run was lent, and it was not."""

    facts = JobTypeFacts("echo", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        said = said_of(Path(with_["aside"]).read_text().splitlines()[0])
        show(context, said)
        logging.getLogger("factory.echo").warning("said %s", said)
        context.log(said)
        context.progress(0.5, said)
        context.save_checkpoint({"said": said})
        context.intend("echo", said, {"said": said})
        if with_.get("fails"):
            raise ValueError(f"{said} of {with_}")
        draft = ArtifactDraft(ArtifactKind.FILE, said, f"https://host/{said}", "text/plain")
        return JobResult({"said": said}, (draft,), degraded=said)


class Fatal(Work):
    """Kills the process that runs it, a number of times."""

    facts = JobTypeFacts("fatal", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        append(with_["file"], str(context.facts.attempt))
        if len(lines_of(with_["file"])) <= with_["times"]:
            os.kill(os.getpid(), 9)
        return JobResult()


JOB_TYPES = [
    Count(),
    Touch(),
    GatedRepository(),
    Sleep(),
    Flaky(),
    Forge(),
    Await(),
    Fatal(),
    Leak(),
    Echo(),
]


def said_of(token: str) -> str:
    """A secret as it is, in a header of two letters and a colon, and in an address."""
    return f"{token} {b64encode(f'me:{token}'.encode()).decode()} {quote(token, safe='')}"


def show(context: JobContext, said: str) -> None:
    """Have a program say it on both its outputs, which are this process's."""
    program = "import sys; print(sys.argv[1]); print(sys.argv[1], file=sys.stderr)"
    context.start_child([sys.executable, "-S", "-c", program, said]).wait()


def commit(context: JobContext, text: str) -> None:
    """Try to commit a file that says it, to a repository of the job's own."""
    mine = context.facts
    place = (mine.tenant_id, mine.project_id, "leaks")
    context.host.ensure_repository(*place, effect_key=mine.effect_key, description="")
    trailers = (("Factory-Run", mine.run_id), ("Factory-Step", mine.step))
    order = CommitOrder(mine.project_id, "leaks", "all", trailers, "me", context.now())
    context.host.ensure_commit(mine.tenant_id, order, [TreeFile("a.py", text.encode())])


@contextmanager
def gates(context: JobContext, with_: Mapping[str, Any]) -> Generator[None]:
    """Hold a job up before and after its effect, deaf to whoever asks it to stop.

    It waits until the file ``gate_before`` is there, and after it says so in ``done`` until
    ``gate_after`` is. When it is over, whatever became of it, it says so in ``left``.
    """
    step = context.facts.step
    try:
        if "begun" in with_:
            append(with_["begun"], step)
        pass_gate(with_.get("gate_before"))
        yield
        if "done" in with_:
            append(with_["done"], step)
        pass_gate(with_.get("gate_after"))
    finally:
        if "left" in with_:
            append(with_["left"], step)


def pass_gate(file: str | None) -> None:
    while file is not None and not Path(file).exists():
        time.sleep(0.02)


def append(file: str, line: str) -> None:
    """Add a line, durably and in one piece."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lines_of(file: str | Path) -> list[str]:
    """The lines that were added so far."""
    place = Path(file)
    return place.read_text().split() if place.exists() else []


def a_work_template(name: str, *steps: str, version: str = "1.0.0", deadline: str = "1h") -> str:
    """A template of these types, each step a line of YAML's flow style."""
    head = f"id: {name}\nversion: {version}\ntitle: Work\ndescription: Tests.\ndeadline: {deadline}"
    return "\n".join([head, "steps:", *(f"  - {{{step}}}" for step in steps), ""])

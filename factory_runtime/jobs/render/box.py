"""Rendering: an order and packed sources in, one packed tree out, hostile templates or not."""

from __future__ import annotations

import errno
import json
import signal
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

from factory_runtime.domain.disk import disk_error
from factory_runtime.domain.errors import (
    FactoryError,
    HostileTemplateError,
    RenderFailedError,
    StorageFullError,
    TransientError,
)
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.result import RenderOrder
from factory_runtime.domain.tree import TreeReference, pack_folder
from factory_runtime.jobs.leaks import refuse_leaks
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.process import run_child
from factory_runtime.jobs.render.request import (
    LayerRequest,
    RenderProblem,
    RenderReply,
    RenderRequest,
)
from factory_runtime.jobs.render.staging import unpack_source
from factory_runtime.jobs.render.trees import check_tree, find_excess, leaks_in
from factory_runtime.ports import ArtifactStorage

_SECOND = timedelta(seconds=1)
_SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

RENDERER = "1"
"""Part of every cache key: raise it when the box renders the same order to other files."""


class RenderKilledError(TransientError):
    """Somebody else ended the child; the template is not to blame."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A tree in artifact storage, and what it took: memory and CPU time are the child's."""

    reference: TreeReference
    peak_memory_bytes: int
    cpu_seconds: float


def render_key(
    tenant_id: str,
    job_type: str,
    type_version: str,
    order: RenderOrder,
    sources: Mapping[str, str],
) -> str:
    """The cache key of a render, 64 hex digits: everything that shapes the files, and the tenant.

    Raises:
        RenderFailedError: a layer's source is not among ``sources``.
    """
    return digest_of(
        {
            "renderer": RENDERER,
            "tenant": tenant_id,
            "type": [job_type, type_version],
            "layers": [
                [layer.source, _digest(sources, layer.source), dict(layer.data)]
                for layer in order.layers
            ],
        }
    )


def _never() -> bool:
    return False


def render(
    order: RenderOrder,
    sources: Mapping[str, str],
    storage: ArtifactStorage,
    tenant_id: str,
    limits: RenderLimits,
    *,
    cancelled: Callable[[], bool] = _never,
    scratch: Path | None = None,
) -> Rendered:
    """Render the order's layers over each other in a child process and store the tree.

    The same order and sources give the same bytes, on every machine and at any time.

    ``sources`` maps a source's name to the digest of its packed tree in ``storage``. ``cancelled``
    is asked about twenty times a second; once it is true, the render stops. ``scratch`` is an
    existing folder for temporary files; None takes the system's.

    Raises:
        RenderFailedError: a template or its data is wrong; the message names file and line.
        HostileTemplateError: a template tried to leave its box, or left what nobody should commit.
        SecretLeakError: a file holds what looks like a secret; the message names file and line.
        RenderLimitError: it went over a limit; the message names it.
        RenderKilledError: the child was killed from outside.
        CancelledError: ``cancelled`` said so.
        StorageFullError: the disk is full or read-only.
    """
    with (
        _system_errors(scratch or Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(prefix="factory-render-", dir=scratch) as folder,
    ):
        staging = Path(folder).resolve()
        out = staging / "out"
        out.mkdir()
        request = _request(order, sources, storage, tenant_id, limits, staging, out)
        reply = _ask_child(request, staging, out, limits, cancelled)
        if "problem" in reply:
            raise _error(reply["problem"], limits)
        if excess := find_excess(out, limits):
            raise limits.exceeded(excess)
        check_tree(out)
        refuse_leaks(leaks_in(out))
        return Rendered(
            _store(out, staging, storage, tenant_id),
            reply["peak_memory_bytes"],
            reply["cpu_seconds"],
        )


def _request(
    order: RenderOrder,
    sources: Mapping[str, str],
    storage: ArtifactStorage,
    tenant_id: str,
    limits: RenderLimits,
    staging: Path,
    out: Path,
) -> RenderRequest:
    """Unpack each source once, and say what is to be done with it."""
    layers: list[LayerRequest] = []
    for layer in order.layers:
        digest = _digest(sources, layer.source)
        folder = staging / f"source-{digest}"
        if not folder.exists():
            unpack_source(storage, tenant_id, digest, folder, limits)
        layers.append(
            {
                "name": layer.source,
                "digest": digest,
                "folder": str(folder),
                "data": dict(layer.data),
            }
        )
    return {
        "staging": str(staging),
        "out": str(out),
        "reply": str(staging / "reply.json"),
        "memory": limits.memory_bytes,
        "cpu": max(1, -(-limits.cpu // _SECOND)),
        "file": limits.file_bytes,
        "size": limits.size_bytes,
        "files": limits.files,
        "layers": layers,
    }


def _ask_child(
    request: RenderRequest,
    staging: Path,
    out: Path,
    limits: RenderLimits,
    cancelled: Callable[[], bool],
) -> RenderReply:
    asked = staging / "request.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    with asked.open("rb") as body:
        code = run_child(body, staging, out, limits, cancelled)
    answer = Path(request["reply"])
    if code == 0 and answer.exists():
        return cast(RenderReply, json.loads(answer.read_text(encoding="utf-8")))
    raise _ended_without_answer(code, staging, limits)


def _ended_without_answer(code: int, staging: Path, limits: RenderLimits) -> FactoryError:
    if code == -signal.SIGXCPU:
        return limits.exceeded("cpu")
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return RenderKilledError(
            f"the render was ended from outside by {signal.Signals(-code).name}",
            hint="the machine may be short of memory",
        )
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
    said = (staging / "stderr").read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(said) if line.strip()), "it said nothing")
    return RenderFailedError(f"the renderer ended {how}: {last[:400]}")


def _error(problem: RenderProblem, limits: RenderLimits) -> FactoryError:
    place = problem.get("place", "")
    if "limit" in problem:
        return limits.exceeded(problem["limit"], place)
    kinds = {"failed": RenderFailedError, "hostile": HostileTemplateError, "full": StorageFullError}
    message = f"{place}: {problem['message']}" if place else problem["message"]
    return kinds[problem["kind"]](message, hint=problem.get("hint"))


def _store(out: Path, staging: Path, storage: ArtifactStorage, tenant_id: str) -> TreeReference:
    with (staging / "tree.tar").open("w+b") as packed:
        reference = pack_folder(out, packed, ignore=())
        packed.seek(0)
        storage.put(tenant_id, packed)
    return reference


def _digest(sources: Mapping[str, str], name: str) -> str:
    try:
        return sources[name]
    except KeyError:
        raise RenderFailedError(
            f"the plan has no source {name!r}", hint=f"it has {', '.join(sorted(sources))}"
        ) from None


@contextmanager
def _system_errors(scratch: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise TransientError(f"no child can be started to render: {error.strerror}") from error
        raise disk_error(error, scratch) from error

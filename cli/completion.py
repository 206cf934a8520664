"""What the shell offers after Tab. It never fails: without an answer there is nothing to offer."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from typer import Context

if TYPE_CHECKING:
    from cli.desk.desk import Desk


@contextmanager
def _desk(tenant: str | None = None) -> Generator[Desk]:
    from cli.door import close_doors, open_door

    try:
        yield open_door(tenant=tenant).desk
    finally:
        close_doors()


def complete_template(incomplete: str) -> list[str]:
    """Names of templates: of folders and of what was published, none of it read."""
    with suppress(Exception), _desk() as desk:
        return sorted(_beginning(desk.template_names(), incomplete))
    return []


def complete_step(ctx: Context, incomplete: str) -> list[str]:
    """Names of the jobs of the run that stands before it."""
    with suppress(Exception), _desk(ctx.params.get("tenant")) as desk, desk.reading() as tx:
        return _beginning((job.step for job in tx.list_jobs(ctx.params["run_id"])), incomplete)
    return []


def complete_approval(incomplete: str) -> list[str]:
    """Ids of what waits to be approved."""
    with suppress(Exception), _desk() as desk, desk.reading() as tx:
        from factory_runtime.domain.approval import ApprovalStatus

        found = tx.list_approvals(status=ApprovalStatus.OPEN)
        return _beginning((approval.id for approval in found), incomplete)
    return []


def complete_letter(incomplete: str) -> list[str]:
    """Ids of the newest open dead letters."""
    with suppress(Exception), _desk() as desk, desk.reading() as tx:
        from factory_runtime.domain.dead_letter import LetterFilter

        found = tx.list_dead_letters(LetterFilter())
        return _beginning((letter.id for letter in found), incomplete)
    return []


def complete_fingerprint(incomplete: str) -> list[str]:
    """Fingerprints of open dead letters, as the list shows them."""
    with suppress(Exception), _desk() as desk:
        groups = desk.letter_groups(limit=200)
        return _beginning((group.fingerprint[:12] for group in groups), incomplete)
    return []


def complete_run(incomplete: str) -> list[str]:
    """The newest runs' ids."""
    with suppress(Exception), _desk() as desk, desk.reading() as tx:
        from factory_runtime.ports import RunFilter

        return _beginning((run.id for run in tx.list_runs(RunFilter()).items), incomplete)
    return []


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]

"""What the shell offers after Tab. It never fails: without an answer there is nothing to offer."""

from __future__ import annotations

from contextlib import suppress

from typer import Context


def complete_template(incomplete: str) -> list[str]:
    """Names of templates: of folders and of what was published, none of it read."""
    found: set[str] = set()
    with suppress(Exception):
        from importlib.resources import files
        from pathlib import Path

        from factory_runtime.settings import Settings

        built_in = Path(str(files("factory_runtime"))) / "templates"
        for folder in (*Settings().template_folders, built_in):
            found |= {entry.parent.name for entry in folder.glob("*/template.yaml")}
    with suppress(Exception):
        from factory_runtime.bootstrap import open_runtime

        runtime = open_runtime()
        published = runtime.kept_templates.publications(runtime.settings.tenant)
        found |= {one.template_id for one in published}
    return sorted(name for name in found if name.startswith(incomplete))


def complete_step(ctx: Context, incomplete: str) -> list[str]:
    """Names of the jobs of the run that stands before it."""
    with suppress(Exception):
        from factory_runtime.bootstrap import open_runtime

        runtime = open_runtime()
        tenant = ctx.params.get("tenant") or runtime.settings.tenant
        with runtime.store.begin(tenant, read_only=True) as tx:
            jobs = tx.list_jobs(ctx.params["run_id"])
        return [job.step for job in jobs if job.step.startswith(incomplete)]
    return []


def complete_approval(incomplete: str) -> list[str]:
    """Ids of what waits to be approved."""
    with suppress(Exception):
        from factory_runtime.bootstrap import open_runtime
        from factory_runtime.domain.approval import ApprovalStatus

        runtime = open_runtime()
        with runtime.store.begin(runtime.settings.tenant, read_only=True) as tx:
            found = tx.list_approvals(status=ApprovalStatus.OPEN)
        return [approval.id for approval in found if approval.id.startswith(incomplete)]
    return []


def complete_letter(incomplete: str) -> list[str]:
    """Ids of the newest open dead letters."""
    with suppress(Exception):
        from factory_runtime.bootstrap import open_runtime
        from factory_runtime.domain.dead_letter import LetterFilter

        runtime = open_runtime()
        with runtime.store.begin(runtime.settings.tenant, read_only=True) as tx:
            found = tx.list_dead_letters(LetterFilter())
        return [letter.id for letter in found if letter.id.startswith(incomplete)]
    return []


def complete_fingerprint(incomplete: str) -> list[str]:
    """Fingerprints of open dead letters, as the list shows them."""
    with suppress(Exception):
        from factory_runtime.bootstrap import open_runtime

        runtime = open_runtime()
        groups = runtime.store.letter_groups(tenant_id=runtime.settings.tenant)
        shown = [group.fingerprint[:12] for group in groups]
        return [fingerprint for fingerprint in shown if fingerprint.startswith(incomplete)]
    return []


def complete_run(incomplete: str) -> list[str]:
    """The newest runs' ids."""
    with suppress(Exception):
        from factory_runtime.bootstrap import open_runtime
        from factory_runtime.ports import RunFilter

        runtime = open_runtime()
        with runtime.store.begin(runtime.settings.tenant, read_only=True) as tx:
            runs = tx.list_runs(RunFilter(), limit=50).items
        return [run.id for run in runs if run.id.startswith(incomplete)]
    return []

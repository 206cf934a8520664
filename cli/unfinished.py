"""What `factory doctor` says of runs that have not come to their end: does an upgrade touch them?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli.as_json import to_json
from cli.door import StoreDoor

if TYPE_CHECKING:
    from factory_runtime.services.unfinished import Unfinished

_SHOWN = 20


def find_unfinished(door: StoreDoor) -> list[Unfinished]:
    """Those of all tenants."""
    from factory_runtime.services.unfinished import find_unfinished

    runtime = door.runtime
    if (store := runtime.find_store()) is None:
        return []
    facts = {name: job_type.facts for name, job_type in runtime.job_types.items()}
    return list(find_unfinished(store, runtime.storage, facts))


def unfinished_words(found: Sequence[Unfinished]) -> tuple[str, str, str]:
    """State, finding and advice: ``fail`` where a run could not go on."""
    if not found:
        return "ok", "no run is unfinished", ""
    count = f"{len(found)} unfinished run{'' if len(found) == 1 else 's'}"
    stuck = sum(not one.goes_on for one in found)
    if stuck:
        advice = "install what is missing before these go on, or cancel them"
        return "fail", f"{stuck} of {count} cannot go on as they began", advice
    other = sum(bool(one.other_types) for one in found)
    if other:
        advice = "their jobs go on with the job types that are installed now"
        return "warn", f"{count}; {other} planned for other versions of job types", advice
    return "ok", f"{count}, and all that they go on with is kept", ""


def show_unfinished(door: StoreDoor, found: Sequence[Unfinished]) -> None:
    """A line for each; those that cannot go on come first."""
    if not found:
        return
    door.screen.heading("Unfinished runs")
    inside = sorted(found, key=lambda one: (one.goes_on, not one.other_types))
    door.screen.table(
        ("run", "tenant", "status", "template", "sources", "what"),
        [_row(one) for one in inside[:_SHOWN]],
        flexible=("what",),
    )
    if len(found) > _SHOWN:
        door.screen.line(f"and {len(found) - _SHOWN} more: --json names them all", "dim")


def unfinished_facts(one: Unfinished) -> dict[str, Any]:
    """One of them, for another program."""
    run = one.run
    return {
        "run_id": run.id,
        "tenant": run.tenant_id,
        "status": run.status.value,
        "template": run.template_id,
        "version": run.template_version,
        "template_digest": run.template_digest,
        "template_kept": one.has_template,
        "sources": to_json(one.sources),
        "gone_job_types": list(one.gone_types),
        "other_job_types": to_json(one.other_types),
        "plan_problem": one.plan_problem,
        "goes_on": one.goes_on,
    }


def _row(one: Unfinished) -> tuple[str, ...]:
    run = one.run
    lost = len(one.lost_sources)
    kept = f"{lost} of {len(one.sources)} lost" if lost else "kept" if one.sources else "none"
    template = f"{run.template_id} {run.template_version}".rstrip()
    return run.id, run.tenant_id, run.status.value, template, kept, _what(one)


def _what(one: Unfinished) -> str:
    words = [one.plan_problem] if one.plan_problem else []
    words += [f"no job type {name}" for name in one.gone_types]
    words += [f"{name} {old} is {new} by now" for name, (old, new) in one.other_types.items()]
    if not one.has_template:
        words.append("its template is not kept: no retry with other inputs")
    return "; ".join(words)

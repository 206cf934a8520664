"""What a run would do: the plan as a tree. Nothing is recorded or started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from cli.as_json import print_json
from cli.door import Door
from cli.policy_words import question_words
from cli.similar import Similar, show_similar, similar_as_json
from cli.text import clean, duration
from factory_runtime.compiler.expressions import evaluate, scope_name
from factory_runtime.compiler.gates import APPROVAL
from factory_runtime.compiler.plan import plan_to_json
from factory_runtime.domain.approval import spell_deciders
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.run import RunRequest
from factory_runtime.services.preview import Preview, RenderForecast

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_CREATES = "repo-generation"
_RENDER_STYLES = {RenderForecast.CACHED: "not bold green", RenderForecast.NEW: "not bold"}


@dataclass(frozen=True)
class Outside:
    """What a job would touch outside, as far as the inputs tell."""

    verb: str
    target: str

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


def show_plan(door: Door, request: RunRequest, preview: Preview, similar: Similar) -> None:
    """Print the plan: a tree for people; for programs the Plan's own JSON and what is known."""
    plan = preview.plan
    if door.json:
        touched = outside_effects(request, plan)
        document = json.loads(plan_to_json(plan))
        document["renders"] = preview.renders
        document["touches"] = {name: str(outside) for name, outside in touched.items()}
        document["approvals"] = preview.ruling.approvals
        document["deadline_capped"] = preview.capped
        document["warnings"] = preview.warnings
        print_json({**document, **similar_as_json(similar)})
        return
    from rich.console import Console

    limits = [limit for limit in (request.deadline, plan.deadline) if limit is not None]
    door.screen.facts(
        [
            ("template", f"{plan.template_id} {plan.template_version}"),
            ("project", request.project_id),
            ("deadline", (duration(min(limits)) if limits else "none") + _whose(preview, request)),
            *(("approval", question_words(one.question)) for one in preview.ruling.approvals),
            *((name, _spelled(value)) for name, value in plan.inputs.items()),
        ]
    )
    door.screen.line()
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(plan_tree(request, preview))
    door.screen.line()
    for warning in preview.warnings:
        door.screen.line(clean(warning), "bad")
    show_similar(door, similar)
    door.screen.line("nothing was recorded or started", "dim")


def plan_tree(request: RunRequest, preview: Preview) -> Tree:
    """Each job below the last of the jobs it waits for."""
    from rich.text import Text
    from rich.tree import Tree

    plan = preview.plan
    touched = outside_effects(request, plan)
    tree = Tree(Text(f"{len(plan.jobs)} job{'' if len(plan.jobs) == 1 else 's'}"))
    branches: dict[str, Tree] = {}
    for job in plan.jobs:  # each follows its needs
        parent = branches[job.needs[-1]] if job.needs else tree
        branches[job.name] = parent.add(
            _label(job, preview.renders[job.name], touched.get(job.name))
        )
    return tree


def outside_effects(request: RunRequest, plan: Plan) -> Mapping[str, Outside]:
    """What the jobs would touch, by name; repositories, as the built-in job types name them."""
    steps: dict[str, Any] = {}
    found: dict[str, Outside] = {}
    for job in plan.jobs:
        if job.skip or "repository" not in job.with_:
            continue
        scope = {"inputs": plan.inputs, "steps": steps, "item": job.item, "run": {}}
        try:
            name = str(evaluate(job.with_["repository"], scope))
        except FactoryError:
            found[job.name] = Outside("commits to", "a repository that an earlier step names")
            continue
        if job.type == _CREATES:
            steps[scope_name(job.step)] = {"outputs": {"repository": name}}
        verb = "creates and commits to" if job.type == _CREATES else "commits to"
        found[job.name] = Outside(verb, f"{request.project_id}/{name}")
    return found


def _label(job: PlannedJob, render: RenderForecast, outside: Outside | None) -> Text:
    from rich.text import Text

    label = Text(clean(job.name), style="bold")
    label.append(f"  {job.type}", style="not bold cyan")
    if render is not RenderForecast.NONE:
        label.append(f"  render: {render}", style=_RENDER_STYLES.get(render, "not bold dim"))
    for fact in _facts(job, outside):
        label.append(f"\n{clean(fact)}", style="not bold dim")
    return label


def _facts(job: PlannedJob, outside: Outside | None) -> list[str]:
    facts: list[str] = []
    if job.skip:
        facts.append("skipped: its condition is false")
    if job.when is not None:
        facts.append(f"only if {job.when}")
    if len(job.needs) > 1:
        facts.append(f"waits for {', '.join(job.needs)}")
    if job.fallback_for:
        facts.append(f"only if {' or '.join(job.fallback_for)} fails")
    if outside is not None:
        facts.append(str(outside))
    if job.type == APPROVAL:
        facts.append(f"waits until {_deciders(job)} approves")
    tries = "1 attempt" if job.retry.max_attempts == 1 else f"{job.retry.max_attempts} attempts"
    facts.append(f"{tries} of at most {duration(job.timeout)}{_exceptions(job)}")
    return facts


def _deciders(job: PlannedJob) -> str:
    """Who is asked, as far as the template says."""
    by: Any = job.with_.get("by") or []
    names = spell_deciders(map(str, cast("list[Any]", by))) if isinstance(by, list) else str(by)
    count = job.with_.get("count", 1)
    return names if count == 1 else f"{count} of {names}"


def _exceptions(job: PlannedJob) -> str:
    told: list[str] = []
    if not job.cache.enabled:
        told.append("never cached")
    elif job.cache.ttl is not None:
        told.append(f"cached for {duration(job.cache.ttl)}")
    if job.on_failure.fallback is not None:
        told.append(f"if it fails: {job.on_failure.fallback}")
    elif job.on_failure.action != "fail":
        told.append(f"if it fails: {job.on_failure.action}")
    return "".join(f", {text}" for text in told)


def _whose(preview: Preview, request: RunRequest) -> str:
    """Why the deadline is not the one of the request or of the template."""
    longest = preview.ruling.max_deadline
    if request.deadline is not None or longest is None or preview.plan.deadline != longest:
        return ""
    return ", the policy's: the template would take longer" if preview.capped else ", the policy's"


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""Reads what starts runs of a template by itself: a webhook, a schedule."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from factory_runtime.compiler.check import References
from factory_runtime.compiler.cron import cron_problem
from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.findings import Fields, Findings, did_you_mean
from factory_runtime.compiler.schema import normalise_inputs
from factory_runtime.compiler.steps import Read, read_texts
from factory_runtime.compiler.yaml_nodes import Node
from factory_runtime.domain.errors import ExpressionError
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.template import Schedule, WebhookTrigger

_CRON_HINT = "minute hour day month weekday, like 0 6 * * 1-5"


@dataclass(frozen=True, slots=True)
class Triggers:
    """What a template says of them.

    Attributes:
        plain: as written.
    """

    plain: Mapping[str, Any]
    schedule: Schedule | None = None
    webhook: WebhookTrigger | None = None


def answers(trigger: WebhookTrigger, event: Mapping[str, Any]) -> bool:
    """Whether an event of its source is meant; one that lacks what is asked of it is not."""
    if trigger.when is None:
        return True
    with suppress(ExpressionError):
        return bool(evaluate(trigger.when, {"event": event}))
    return False


def inputs_of_event(trigger: WebhookTrigger, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run that the event begins is given.

    Raises:
        ExpressionError: the event lacks what the map reads.
    """
    return cast("Mapping[str, Any]", evaluate(trigger.map, {"event": event}))


@dataclass(frozen=True, slots=True)
class TriggerReader:
    """Reads ``triggers``; what is wrong is noted.

    Attributes:
        schema: of the template's inputs.
        references: check what expressions read.
    """

    schema: Mapping[str, Any]
    references: References
    findings: Findings

    def read(self, node: Node | None) -> Triggers:
        """What stands there; nothing where there is no such key."""
        if node is None:
            return Triggers({})
        inner = Fields.of(node, "triggers", self.findings, ("webhook", "schedule"))
        if inner is None:
            return Triggers({})
        webhook, schedule = inner.node_of("webhook"), inner.node_of("schedule")
        return Triggers(
            node.plain(),
            None if schedule is None else self._schedule(schedule),
            None if webhook is None else self._webhook(webhook),
        )

    def _webhook(self, node: Node) -> WebhookTrigger | None:
        fields = Fields.of(node, "webhook", self.findings, ("source", "when", "map"))
        if fields is None:
            return None
        source = fields.text("source", required="who sends it, like github")
        if source and not is_slug(source):
            fields.bad("source", "a slug", "like github")
        return WebhookTrigger(source, self._when(fields), self._map(fields))

    def _when(self, fields: Fields) -> str | None:
        node = fields.node_of("when")
        if node is None:
            return None
        reads: list[Read] = list(read_texts(node, self.findings))
        if isinstance(node.scalar, str) and len(reads) == 1 and reads[0].text.whole:
            self.references.check_condition(reads[0])
            return node.scalar
        fields.bad("when", "one expression", "like ${{ event.type == 'push' }}")
        return None

    def _map(self, fields: Fields) -> Mapping[str, Any]:
        map_ = fields.node_of("map")
        if map_ is None:
            return {}
        if map_.members is None:
            fields.bad("map", "a mapping from input to value")
            return {}
        known: Mapping[str, Any] = self.schema.get("properties", {})
        for name, place in (map_.keys or {}).items():
            if name not in known:
                message = f"the map gives an unknown input {name!r}"
                self.findings.add(place, "unknown-input", message, did_you_mean(name, known))
        self.references.check_map(read_texts(map_, self.findings))
        return cast("Mapping[str, Any]", map_.plain())

    def _schedule(self, node: Node) -> Schedule | None:
        known = ("cron", "interval", "timezone", "inputs")
        fields = Fields.of(node, "schedule", self.findings, known)
        if fields is None:
            return None
        every = fields.node_of("interval")
        interval = fields.duration("interval")
        cron = fields.text("cron", required=_CRON_HINT if every is None else None)
        if cron and every is not None:
            fields.bad("interval", "absent where there is a cron", "say one of the two")
        if cron and (problem := cron_problem(cron)) is not None:
            fields.bad("cron", "a cron expression", f"{cron!r} {problem}: {_CRON_HINT}")
        timezone = fields.text("timezone", "UTC")
        if timezone not in zoneinfo.available_timezones():
            fields.bad("timezone", "the name of a time zone", "like Europe/Berlin")
        return Schedule(cron or None, interval, timezone, self._inputs(node, fields))

    def _inputs(self, node: Node, fields: Fields) -> Mapping[str, Any]:
        """What each of its runs is given; nobody is there to be asked for more."""
        given = fields.node_of("inputs")
        if given is not None and given.members is None:
            fields.bad("inputs", "a mapping from input to value")
            return {}
        inputs = {} if given is None else cast("dict[str, Any]", given.plain())
        if any(problem.code == "schema" for problem in self.findings.sorted()):
            return inputs  # there is nothing to check them with
        for problem in normalise_inputs(self.schema, inputs)[1]:
            message = f"the schedule's inputs: {problem.message}"
            self.findings.add(given or node, problem.code, message, problem.hint)
        return inputs

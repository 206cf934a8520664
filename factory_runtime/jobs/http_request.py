"""http-request: one request to a web service, and one effect of it however often it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import FileTree, GitHost, JobContext
from factory_runtime.settings import Settings

if TYPE_CHECKING:
    from factory_runtime.jobs.http_caller import Caller

_KIND = "http-request"

_HEADER = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?!\n)$"
_URL: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^[hH][tT][tT][pP][sS]?://",
    "maxLength": 2000,
    "description": "https://… or http://…, at a host that an operator has listed",
}
_EXPECT: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 200, "maximum": 599},
    "minItems": 1,
    "uniqueItems": True,
}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": _URL,
        "method": {"type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
        "headers": {
            "type": "object",
            "maxProperties": 50,
            "propertyNames": {"pattern": _HEADER},
            "additionalProperties": {"type": "string", "pattern": r"^[\t -~]*(?!\n)$"},
            "description": "secrets, and what the connection is made of, are not among them",
        },
        "body": {"description": "text goes as it is, everything else as JSON"},
        "expect": {**_EXPECT, "description": "statuses that are right; if not said, 200 to 299"},
        "seconds": {
            "type": "number",
            "minimum": 0.1,
            "maximum": 240,
            "description": "of one request, 30 if not said; less than the step's timeout",
        },
        "idempotency_header": {
            "type": "string",
            "pattern": _HEADER,
            "description": "that the effect key goes in; Idempotency-Key if not said",
        },
        "probe": {
            "type": "object",
            "required": ["url"],
            "additionalProperties": False,
            "properties": {
                "url": _URL,
                "expect": {**_EXPECT, "description": "statuses that say it stands; else 200"},
            },
            "description": "what is asked first, to see whether it is done already",
        },
        "credentials": {"type": "string", "description": "block:NAME of a block Factory HTTP"},
        "save": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?!\n)$",
            "description": "name of an artifact that the body of the answer becomes",
        },
        "max_mib": {"type": "integer", "minimum": 1, "maximum": 64},
        "classification": {
            "type": "string",
            "enum": [one.value for one in Classification],
            "description": "of what is saved: who may see it",
        },
    },
}


class HttpRequest:
    """Sends one request. A GET is no effect; anything else stands in the ledger.

    Where a template says how to see that it is done (``probe``), that is asked before it is sent.
    Without, a request whose answer was lost is sent again under the same key: a service that knows
    the key does it once, any other at least once.

    Outputs: status, found (by the probe, so that nothing was sent), headers, text, json, truncated,
    digest (of what was saved).
    """

    facts = JobTypeFacts(
        name="http-request",
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        credentials="factory-http",
    )

    def __init__(self, settings: Callable[[], Settings] = Settings) -> None:
        """``settings`` say whom requests may be sent to; they are asked for at each attempt."""
        self._settings = settings

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        # Imported here: the client is of no use to those who only ask what types there are.
        from factory_runtime.jobs.http_answer import result_of
        from factory_runtime.jobs.http_caller import GET, Caller

        del tree
        lent = context.credentials() if "credentials" in with_ else None
        caller = Caller(self._settings().http_hosts, with_, lent, context.check_cancelled)
        if caller.method == GET:
            answer = caller.send(context.facts, context.now())
            return result_of(context, with_, answer, caller.secrets)
        # Whatever the ledger says of it, its probe knows whether it stands.
        context.intend(_KIND, caller.target, _facts(caller))
        answer = caller.find()
        found = answer is not None
        if answer is None:
            context.check_lease()
            answer = caller.send(context.facts, context.now())
        context.log(f"{caller.target} {'was done before' if found else 'is done'}: {answer.status}")
        result = result_of(context, with_, answer, caller.secrets, found=found)
        return replace(result, effects=(ConfirmedEffect(_KIND, f"answered {answer.status}"),))

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        """What its probe says; None where it has none, or only the job itself is let in."""
        del host
        if effect.kind != _KIND or not effect.facts.get("probe"):
            return None
        from factory_runtime.jobs.http_caller import Caller

        answer = Caller(self._settings().http_hosts, effect.facts).find()
        return None if answer is None else f"answered {answer.status}"


def _facts(caller: Caller) -> Mapping[str, Any]:
    """What the request is known by, and how anybody sees that it is done, where anybody can."""
    with_ = caller.with_
    facts = {"request": digest_of([caller.method, with_["url"], with_.get("body")])}
    is_open = caller.lent is None and "probe" in with_
    return {**facts, "probe": with_["probe"]} if is_open else facts

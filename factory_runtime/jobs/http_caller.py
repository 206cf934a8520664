"""Who sends an http-request: whom it may ask, what it was told to, and as whom.

The effect key goes along as ``Idempotency-Key``, as a plain token, as services that know the header
take it: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.errors import (
    DataRefusedError,
    HostBusyError,
    HostRejectedError,
    InputError,
)
from factory_runtime.domain.loopback import is_loopback
from factory_runtime.domain.secrets import Secrets
from factory_runtime.jobs.http_answer import READ_BYTES, check_status, most_bytes
from factory_runtime.jobs.outside_http import Answered, Outside, ask
from factory_runtime.jobs.report.download import TRY_AGAIN
from factory_runtime.jobs.report.locations import is_listed, parse_url, shown
from factory_runtime.ports import Credentials, JobFacts

GET = "GET"

_SETTING = "FACTORY_HTTP_HOSTS"
_ABSENT = frozenset({404, 410})
_CONNECTION = frozenset(
    [
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ]
)
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Sends what a step says.

    Attributes:
        hosts: that an operator has listed.
        with_: of the step; or the facts of an effect, to look for it.
        lent: what it shows to services; None is nothing.
        check: raises where nobody wants the answer any more.
    """

    hosts: tuple[str, ...]
    with_: Mapping[str, Any]
    lent: Credentials | None = None
    check: Callable[[], None] = lambda: None

    @property
    def method(self) -> str:
        return self.with_.get("method", GET)

    @property
    def target(self) -> str:
        return f"{self.method} {shown(self.with_['url'])}"

    @property
    def secrets(self) -> Secrets:
        """What no answer may tell."""
        secrets = Secrets()
        secrets.add(self.lent.secrets if self.lent else ())
        return secrets

    def send(self, facts: JobFacts, now: datetime) -> Answered:
        """The answer to the request itself, one that was expected.

        Raises:
            DataRefusedError: it may not be sent there.
            HostBusyError: it is to be sent again later.
            HostRejectedError: it is refused.
            InputError: a header that is not the template's to say.
        """
        with_, is_effect = self.with_, self.method != GET
        given = {name.lower(): value for name, value in with_.get("headers", {}).items()}
        key = with_.get("idempotency_header", "Idempotency-Key").lower()
        _refuse_names([*given, key])
        content, headers = _content(with_)
        headers |= given | ({key: facts.effect_key} if is_effect else {})
        answer = self._ask(self.method, with_["url"], headers, content)
        check_status(
            answer,
            with_.get("expect", ()),
            self.target,
            now,
            self.secrets,
            came_before=is_effect and facts.attempt > 1,
        )
        return answer

    def find(self) -> Answered | None:
        """What the probe answers where the effect stands; None where it does not, or there is none.

        Raises:
            DataRefusedError: it may not be asked.
            HostBusyError: it cannot tell now.
            HostRejectedError: it does not tell us.
        """
        probe = self.with_.get("probe")
        if not probe:
            return None
        answer = self._ask(GET, probe["url"], {}, None)
        if answer.status in probe.get("expect", (200,)):
            return answer
        if answer.status < 400 or answer.status in _ABSENT:
            return None
        message = f"the probe {shown(probe['url'])} answers {answer.status}"
        if answer.status >= 500 or answer.status in TRY_AGAIN:
            raise HostBusyError(message)
        raise HostRejectedError(message, hint="look at its address, or at who may ask")

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Answered:
        size = most_bytes(self.with_) + 1 if "save" in self.with_ else READ_BYTES
        time = timedelta(seconds=self.with_.get("seconds", 30))
        outside = Outside(self.hosts, _SETTING, "requests may be sent to", size, time)
        shows = {} if self.lent is None else _shown_to(url, self.lent)
        headers = {"accept": "*/*", **headers, **shows}
        answer = ask(
            outside, url, method=method, headers=headers, content=content, check=self.check
        )
        hide = self.secrets.hide_in  # before anything is cut: half of a secret is not found
        return replace(answer, headers={name: hide(said) for name, said in answer.headers.items()})


def _refuse_names(names: Iterable[str]) -> None:
    for name in names:
        if name in _SECRET:
            raise InputError(
                f"{name} is no header for a template, which is kept",
                hint="credentials: block:NAME of a block Factory HTTP",
            )
        if name in _CONNECTION:
            raise InputError(f"{name} is a header of the connection, and ours")


def _content(with_: Mapping[str, Any]) -> tuple[bytes | None, dict[str, str]]:
    """The body, and what it is called unless the template calls it something else."""
    if "body" not in with_:
        return None, {}
    body = with_["body"]
    if isinstance(body, str):
        return body.encode(), {"content-type": "text/plain; charset=utf-8"}
    return json.dumps(body).encode(), {"content-type": "application/json"}


def _shown_to(url: str, lent: Credentials) -> dict[str, str]:
    """The header that shows a service who we are, as its block says.

    Raises:
        DataRefusedError: the block does not name the host, or anybody could listen.
    """
    parts, fields = parse_url(url), lent.fields
    if not is_listed(parts, fields.get("hosts") or ()):
        raise DataRefusedError(
            f"{lent.name} may not be shown to {parts.netloc}",
            hint="who keeps the block says to whom it may be: `hosts`",
        )
    if parts.scheme != "https" and not is_loopback(str(parts.hostname)):
        raise DataRefusedError(f"{lent.name} is shown over TLS alone", hint="use https")
    secret = str(fields["secret"])
    if not (secret.isascii() and secret.isprintable()):
        raise DataRefusedError(f"the secret of {lent.name} is no text that a header can hold")
    if user := fields.get("user"):
        pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return {"authorization": f"Basic {pair}"}
    if header := fields.get("header"):
        return {str(header).lower(): secret}
    return {"authorization": f"Bearer {secret}"}

"""What Azure DevOps itself says of a resource that a service hook has named.

A service hook is not signed: its body is a hint. Of the address in it only the path behind
``_apis`` is taken, and asked for at the organisation that the source names.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from factory_runtime.domain.errors import HostBusyError, HostRejectedError, UnreadableEventError
from factory_runtime.domain.json_values import find_bad_value
from factory_runtime.domain.webhook import WebhookSource
from factory_runtime.jobs.outside_http import Outside, ask
from factory_runtime.services.callbacks import SETTING
from factory_runtime.services.secret_box import SecretBox

_VERSION = "api-version=7.1"
_PART = r"[A-Za-z0-9_-]{1,64}"
_RESOURCE = re.compile(rf"/_apis(?:/{_PART}){{1,8}}", re.ASCII)
_PROJECT = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_MOST_BYTES = 1 << 20
_REFUSALS = frozenset({203, 302, 401, 403, 404, 410})
"""The first two lead to a page to sign in at."""


@dataclass(frozen=True)
class AzureResources:
    """Asks organisations.

    Attributes:
        hosts: that an operator has listed beside all public ones.
        open_box: what the tokens of sources are sealed with.
    """

    hosts: Sequence[str]
    open_box: Callable[[], SecretBox]

    def fetch(self, source: WebhookSource, hint: object) -> Any:
        """The resource, as JSON.

        Raises:
            UnreadableEventError: the hint names none.
            DataRefusedError: the organisation's address may not be asked.
            HostBusyError: it does not answer now.
            HostRejectedError: it refuses, or has no such resource.
        """
        path = resource_path(hint)
        what = "resources may be fetched from"
        outside = Outside(self.hosts, SETTING, what, _MOST_BYTES + 1, public=True)
        base = str(source.options["base_url"]).rstrip("/")
        answer = ask(outside, f"{base}{path}?{_VERSION}", headers=self._headers(source))
        if answer.status in _REFUSALS:
            raise HostRejectedError(
                f"{source.name} answers {answer.status} for {path}",
                hint="look at the token of the source, and whether it may read this",
            )
        if answer.status != 200 or len(answer.body) > _MOST_BYTES:
            raise HostBusyError(f"{source.name} answers {answer.status} for {path}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as exc:
            raise HostBusyError(f"{source.name} answers no JSON for {path}") from exc
        if (bad := find_bad_value({"resource": found})) is not None:
            raise UnreadableEventError(f"what {source.name} answers cannot be kept: {bad[1]}")
        return found

    def _headers(self, source: WebhookSource) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        token = source.options.get("token")
        if token is not None:
            # A personal access token is the password of no user.
            pair = f":{self.open_box().unseal(token)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers


def resource_path(hint: object) -> str:
    """The path of the resource that a hook names, within an organisation.

    Raises:
        UnreadableEventError: it names none, or one that is no plain path.
    """
    url, project = (
        _text(hint, "resource", "url"),
        _text(hint, "resourceContainers", "project", "id"),
    )
    _, apis, rest = url.partition("?")[0].partition("/_apis/")
    found = _RESOURCE.fullmatch(f"{apis}{rest}")
    if found is None:
        raise UnreadableEventError("the hook names no resource of Azure DevOps")
    within = f"/{project}" if _PROJECT.fullmatch(project) else ""
    return f"{within}{found[0]}"


def _text(value: object, *names: str) -> str:
    for name in names:
        if not isinstance(value, Mapping):
            return ""
        value = cast("Mapping[str, object]", value).get(name)
    return value if isinstance(value, str) else ""

"""The child that sends one notice: reads an order from standard input, says what came of it.

Run as ``python -m``. It imports Apprise and nothing of ours.
"""

from __future__ import annotations

import gc
import html
import json
import logging
import re
import signal
import sys
from typing import Any

SENT = "sent"
NO_ADDRESS = "no-address"
ANSWERED = "answered"

_HEADER = "X-Factory-Notice"
_OWN_FIELDS = frozenset({"version", "title", "message", "attachments", "type", "subject"})
_NO_MENTION = "@\u200b"
"""An at sign and a space of no width, so that no name stands behind the sign."""

_STATUS = re.compile(r"error=(\d{3})\b")


def main() -> None:
    """Send what standard input says; the last line of standard output is what came of it."""
    # Apprise loads every service it knows. Nothing of that is garbage: to look for some on the way
    # takes a sixth of it.
    gc.disable()
    order: dict[str, Any] = json.load(sys.stdin)
    # By default that signal ends the process, wherever it is: in the resolver, in a read that gets
    # one byte now and then. So it ends in time though nobody is left to end it.
    signal.setitimer(signal.ITIMER_REAL, order["seconds"])
    sys.stdout.write(f"\n{send(order)}\n")
    sys.stdout.flush()


def send(order: dict[str, Any]) -> str:
    """Send it by Apprise; ``SENT``, ``NO_ADDRESS``, or ``ANSWERED`` with a status or ``-``."""
    import apprise as library

    apprise: Any = library  # its types are partly unknown
    heard = _Heard()
    # Redirected, a POST becomes a GET, is answered, and counts as delivered.
    asset = apprise.AppriseAsset(http_redirects=False, storage_mode="memory", async_mode=False)
    service = apprise.Apprise.instantiate(order["to"], asset=asset)
    if service is None:
        return NO_ADDRESS
    _mark(service, order)
    logging.getLogger("apprise").addHandler(heard)
    # Asked itself, a service is given text as it is: the collection is what makes HTML of it.
    services = apprise.Apprise(asset=asset)
    services.add(service)
    words = _spelled(service, order)
    sent = services.notify(notify_type=apprise.NotifyType(order["severity"]), **words)
    return SENT if sent else f"{ANSWERED} {heard.status or '-'}"


def _spelled(service: Any, order: dict[str, Any]) -> dict[str, str]:
    """Title and body so that the service shows them and does nothing else with them.

    They quote what others wrote: it must not call people together, nor hide an address in a link.
    """
    title, body = str(order["title"]), str(order["body"])
    is_mail = order["to"].lower().startswith("mailto")
    if not is_mail and "payload" not in service.template_kwargs:  # there, a machine reads it
        title, body = (text.replace("@", _NO_MENTION) for text in (title, body))
    if service.notify_format != "markdown":
        return {"title": title, "body": body, "body_format": "text"}
    # Text is taken for Markdown as it stands; of HTML, all that is no tag is escaped.
    body = html.escape(body, quote=False).replace("\n", "<br/>")
    if service.title_maxlen <= 0:  # it becomes part of the body
        title = html.escape(title, quote=False)
    return {"title": title, "body": body, "body_format": "html"}


def _mark(service: Any, order: dict[str, Any]) -> None:
    """Put the key, and facts for machines, where the service has room for what is not text."""
    room: dict[str, Any] = service.template_kwargs
    if "headers" in room:
        service.headers[_HEADER] = order["key"]
    if "payload" in room:
        extras = {k: v for k, v in order["extras"].items() if k not in _OWN_FIELDS}
        service.payload_extras.update(extras)


class _Heard(logging.Handler):
    """Keeps the status that a service answered, of all that Apprise says of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.status = ""

    def emit(self, record: logging.LogRecord) -> None:
        if found := _STATUS.search(record.getMessage()):
            self.status = found[1]


if __name__ == "__main__":
    main()

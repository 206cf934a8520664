"""Whether a delivery was sent by who shares a secret with its source, and what its signature covers.

Secrets and signatures are compared in constant time. A header that decides is there once: of two,
another reader may take the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from standardwebhooks import Webhook, WebhookVerificationError

from factory_runtime.domain.errors import UnauthenticatedError
from factory_runtime.domain.webhook import SourceKind
from factory_runtime.wire.webhook import SourceOptions

HEADER = "x-signature-256"
PREFIX = "sha256="
PART = re.compile(rb"\{(body|timestamp|id)\}")
"""Of what is signed, in the options of a source."""

_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it came.

    Attributes:
        headers: names in lower case; one that came twice is there twice.
        body: every byte of it.
    """

    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that may come once; None where it did not come.

        Raises:
            UnauthenticatedError: it came more than once.
        """
        found = [value for key, value in self.headers if key == name.lower()]
        if len(found) > 1:
            raise refusal()
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Question:
    options: SourceOptions
    secrets: Sequence[str]
    sent: Sent
    now: datetime


def refusal() -> UnauthenticatedError:
    """What everybody is told, whatever is wrong: who guesses learns nothing."""
    return UnauthenticatedError(
        "this delivery does not show that it is of a source that is known here",
        hint="look at the address, the secret, the signature and the sender's clock",
    )


def verify(
    kind: SourceKind, options: SourceOptions, secrets: Sequence[str], sent: Sent, now: datetime
) -> bytes | None:
    """What the signature covers that tells the delivery from others; None: the delivery's own id.

    Where the id is not signed, who has caught a delivery could send it again under another.

    Args:
        kind: decides how.
        options: of the source.
        secrets: those that count now.
        sent: what came.
        now: for the window of timestamps.

    Raises:
        UnauthenticatedError: none of the secrets has signed it, or not now.
    """
    return _KINDS[kind](_Question(options, secrets, sent, now))


def _github(asked: _Question) -> bytes:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    return _signed(asked, asked.sent.body, "x-hub-signature-256", PREFIX)


def _standard(asked: _Question) -> None:
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    headers = {name: asked.sent.header(name) or "" for name in names}
    good = [_is_standard(secret, asked.sent.body, headers) for secret in asked.secrets]
    if not any(good):
        raise refusal()


def _is_standard(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # a signature that is no base64, a body no text
        return False
    return True


def _azure_devops(asked: _Question) -> None:
    # https://learn.microsoft.com/en-us/azure/devops/service-hooks/services/webhooks
    if asked.options.header is not None:
        _same(asked, asked.sent.header(asked.options.header))
        return
    user, _, password = _basic(asked.sent.header("authorization")).partition(":")
    wanted = asked.options.user
    _same(asked, password if wanted is None or _equal(user, wanted) else None)


def _basic(authorization: str | None) -> str:
    scheme, _, value = (authorization or "").partition(" ")
    try:
        return base64.b64decode(value, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


def _cloudevents(asked: _Question) -> bytes | None:
    # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md, section 3
    if asked.options.auth == "hmac":
        return _hmac(asked)
    scheme, _, token = (asked.sent.header("authorization") or "").partition(" ")
    _same(asked, token if scheme.lower() == "bearer" else None)
    return None


def _hmac(asked: _Question) -> bytes | None:
    options, sent = asked.options, asked.sent
    shape = options.signed or "{body}"
    parts = {"body": sent.body}
    if options.timestamp_header is not None:
        parts["timestamp"] = _fresh(asked, options.timestamp_header)
    if options.id_header is not None:
        parts["id"] = (sent.header(options.id_header) or "").encode()
    covered = PART.sub(lambda part: parts[part[1].decode()], shape.encode())
    prefix = PREFIX if options.prefix is None else options.prefix
    _signed(asked, covered, options.header or HEADER, prefix)
    return None if "{id}" in shape else covered


def _fresh(asked: _Question, header: str) -> bytes:
    text = asked.sent.header(header) or ""
    tolerance = timedelta(seconds=asked.options.tolerance_seconds or _TOLERANCE.total_seconds())
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise refusal()
    if abs(int(text) - asked.now.timestamp()) > tolerance.total_seconds():
        raise refusal()
    return text.encode()


def _signed(asked: _Question, covered: bytes, header: str, prefix: str) -> bytes:
    """``covered``, if one of the secrets has signed it."""
    text = asked.sent.header(header) or ""
    given = _decoded(text.removeprefix(prefix), asked.options.encoding)
    if not text.startswith(prefix):
        given = b""
    macs = [hmac.digest(secret.encode(), covered, hashlib.sha256) for secret in asked.secrets]
    if not any([hmac.compare_digest(mac, given) for mac in macs]):  # all of them, always
        raise refusal()
    return covered


def _decoded(text: str, encoding: str | None) -> bytes:
    try:
        if encoding == "base64":
            return base64.b64decode(text, validate=True)
        return binascii.unhexlify(text)
    except ValueError:
        return b""


def _same(asked: _Question, given: str | None) -> None:
    if not any([_equal(given or "", secret) for secret in asked.secrets]):
        raise refusal()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


_KINDS: Mapping[SourceKind, Callable[[_Question], bytes | None]] = {
    SourceKind.GITHUB: _github,
    SourceKind.STANDARD: _standard,
    SourceKind.AZURE_DEVOPS: _azure_devops,
    SourceKind.CLOUDEVENTS: _cloudevents,
    SourceKind.HMAC: _hmac,
}

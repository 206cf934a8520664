"""What a verified delivery says: its id, its type and its body, as each kind of source writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from factory_runtime.domain.errors import UnreadableEventError, UnsupportedEventError
from factory_runtime.domain.json_values import find_bad_value
from factory_runtime.domain.webhook import SourceKind
from factory_runtime.services.webhook_verify import Sent
from factory_runtime.wire.webhook import SourceOptions

_NAME_LENGTH = 200
_CLOUDEVENT = "application/cloudevents+json"


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event.

    Attributes:
        id: the sender's; empty where it gave none.
        type: empty where it says nothing of one.
        body: JSON.
    """

    id: str
    type: str
    body: Any


def read_event(kind: SourceKind, options: SourceOptions, sent: Sent) -> SentEvent:
    """The event of a delivery that was verified.

    Raises:
        UnsupportedEventError: it is no JSON by its content type, or not in UTF-8.
        UnreadableEventError: it is no JSON, or none that can be stored: too deep, say.
    """
    event = _KINDS[kind](options, sent)
    for name, text in (("id", event.id), ("type", event.type)):
        if len(text) > _NAME_LENGTH or not (text.isprintable() or not text):
            raise UnreadableEventError(f"the {name} of the event is no text of 200 characters")
    if (bad := find_bad_value({"body": event.body})) is not None:
        raise UnreadableEventError(f"the event cannot be kept: {bad[1]}")
    return event


def _github(options: SourceOptions, sent: Sent) -> SentEvent:
    del options
    body = _json(sent)
    action, name = _text(body, "action"), sent.header("x-github-event") or ""
    named = f"{name}.{action}" if name and action else name
    return SentEvent(sent.header("x-github-delivery") or "", named, body)


def _standard(options: SourceOptions, sent: Sent) -> SentEvent:
    del options
    body = _json(sent)
    return SentEvent(sent.header("webhook-id") or "", _text(body, "type"), body)


def _azure_devops(options: SourceOptions, sent: Sent) -> SentEvent:
    del options
    body = _json(sent)
    return SentEvent(_text(body, "id"), _text(body, "eventType"), body)


def _hmac(options: SourceOptions, sent: Sent) -> SentEvent:
    body = _json(sent)
    type_ = sent.header(options.type_header) if options.type_header else _text(body, "type")
    named = sent.header(options.id_header) if options.id_header else None
    return SentEvent(named or "", type_ or "", body)


def _cloudevents(options: SourceOptions, sent: Sent) -> SentEvent:
    # https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
    del options
    media_type = _media_type(sent)
    if media_type == _CLOUDEVENT:
        event = _json(sent, (_CLOUDEVENT,))
    elif media_type.startswith("application/cloudevents"):
        raise UnsupportedEventError("events come one by one, as application/cloudevents+json")
    else:
        event = _binary(sent)
    return _cloudevent(event)


def _binary(sent: Sent) -> dict[str, Any]:
    names = [name for name, _ in sent.headers if name.startswith("ce-")]
    event: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(sent.header(name) or "") for name in names
    }
    if sent.body:
        event["data"] = _json(sent, ("application/json",), suffix="+json")
    return event


def _cloudevent(event: Any) -> SentEvent:
    facts = [_text(event, name) for name in ("specversion", "id", "source", "type")]
    if not all(facts) or facts[0] != "1.0":
        raise UnreadableEventError(
            "this is no CloudEvent 1.0", hint="specversion, id, source and type are required"
        )
    _, id_, source, type_ = facts
    whole = f"{source} {id_}"  # an id is unique for its source alone
    if len(whole) > _NAME_LENGTH:
        whole = hashlib.sha256(whole.encode()).hexdigest()
    return SentEvent(whole, type_, event)


def _json(sent: Sent, types: tuple[str, ...] = ("application/json",), suffix: str = "") -> Any:
    media_type = _media_type(sent)
    if media_type not in types and not (suffix and media_type.endswith(suffix)):
        raise UnsupportedEventError(
            f"an event is {types[0]}, not {media_type[:100] or 'of no type'}",
            hint="have its sender choose that content type",
        )
    try:
        return json.loads(sent.body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise UnreadableEventError("the body is no JSON in UTF-8") from exc


def _media_type(sent: Sent) -> str:
    header = Message()
    header["content-type"] = sent.header("content-type") or ""
    try:
        charset = header.get_param("charset", "utf-8")
    except (TypeError, ValueError):  # parts of it that cannot be put together (RFC 2231)
        charset = None
    if not isinstance(charset, str) or charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedEventError("an event is in UTF-8", hint="leave out the charset")
    return header.get_content_type() if header["content-type"] else ""


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)  # NaN and Infinity


def _text(body: Any, name: str) -> str:
    value = cast("Mapping[str, Any]", body).get(name) if isinstance(body, Mapping) else None
    return value if isinstance(value, str) else ""


_KINDS: Mapping[SourceKind, Callable[[SourceOptions, Sent], SentEvent]] = {
    SourceKind.GITHUB: _github,
    SourceKind.STANDARD: _standard,
    SourceKind.AZURE_DEVOPS: _azure_devops,
    SourceKind.CLOUDEVENTS: _cloudevents,
    SourceKind.HMAC: _hmac,
}

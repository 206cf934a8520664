"""Exact secrets are found as they are, and as they stand in what is encoded."""

from __future__ import annotations

import base64
import html
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.redaction import REDACTED
from factory_runtime.domain.secrets import Secrets

CANARY = 'pa$$"w/or+d & <ü> 17'
CANARY_64 = base64.b64encode(CANARY.encode()).decode()


def secrets_of(*values: str) -> Secrets:
    secrets = Secrets()
    secrets.add(values)
    return secrets


def encoded(text: str, encode: Any) -> str:
    return encode(text.encode()).decode()


@pytest.mark.parametrize(
    "form",
    [
        CANARY,
        quote(CANARY),
        quote(CANARY, safe=""),
        quote_plus(CANARY),
        html.escape(CANARY),
        json.dumps(CANARY)[1:-1],
        json.dumps(CANARY, ensure_ascii=False)[1:-1],
        repr(CANARY)[1:-1],
        CANARY.encode().hex(),
        encoded(CANARY, base64.b64encode),
        encoded(CANARY, base64.urlsafe_b64encode),
        encoded(CANARY, base64.b32encode).rstrip("=")[:-1],
        base64.b64encode(CANARY.encode("utf-16-le")).decode(),
        base64.b64encode(CANARY.encode()).decode()[:12] + "\r\n" + CANARY_64[12:],
        "".join(f"&#{ord(c)};" if c in "&<>\"'" else c for c in CANARY),
        html.escape(CANARY, quote=False),
        escape(CANARY, {'"': "&quot;"}),
        json.dumps(CANARY).replace("/", "\\/")[1:-1],
        json.dumps(json.dumps(CANARY)[1:-1])[1:-1],
        quote(quote(CANARY, safe=""), safe=""),
        quote(json.dumps(CANARY)[1:-1], safe=""),
        quote(CANARY_64, safe=""),
        ascii(CANARY)[1:-1],
    ],
)
def test_a_secret_is_found_in_each_form(form: str) -> None:
    secrets = secrets_of(CANARY)
    assert secrets.are_in(f"a {form} b".encode())
    hidden = secrets.hide_in(f"a {form} b")
    assert REDACTED in hidden
    assert form not in hidden
    assert hidden.startswith("a ")


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=9))
def test_a_secret_is_found_in_base64_wherever_it_begins(user: str) -> None:
    secrets = secrets_of(CANARY)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert secrets.are_in(encode(f"{user}:{CANARY}:more".encode()))


def test_a_key_is_found_line_by_line() -> None:
    lines = ["-----BEGIN KEY-----", "MIIEvQIBADANBgkqhkiG9w0B", "AQEFAASCBKcwggSjAgEAAoIB", "--"]
    hidden = secrets_of("\n".join(lines)).hide_in(f"the second is {lines[2]}")
    assert hidden == f"the second is {REDACTED}"


def test_the_secret_part_of_an_address_or_a_connection_string_is_one_itself() -> None:
    key = "q83vEjRWeJCrze8SNFZ4kA=="
    secrets = secrets_of(f"AccountName=acme;AccountKey={key};x=1", "amqp://me:hunter2-hunter@host")
    assert secrets.hide_in(f"key {key}!") == f"key {REDACTED}!"
    assert secrets.hide_in("by hunter2-hunter") == f"by {REDACTED}"
    assert secrets.hide_in("acme at host, x=1") == "acme at host, x=1"


@dataclass(frozen=True)
class Told:
    said: str
    more: dict[str, Any]
    parts: tuple[Any, ...] = ()
    number: int = 5
    kept: frozenset[str] = field(default_factory=frozenset[str])


def test_values_keep_their_kind() -> None:
    secrets = secrets_of("hunter2-hunter")
    bad = "is hunter2-hunter"
    good = f"is {REDACTED}"
    told = Told(bad, {bad: [bad, 1, None, True]}, ((bad,), 2.5), kept=frozenset({bad}))
    assert secrets.hide(told) == Told(
        good, {good: [good, 1, None, True]}, ((good,), 2.5), kept=frozenset({good})
    )


def test_without_secrets_everything_stays_the_very_same() -> None:
    told = Told("x", {})
    assert Secrets().hide(told) is told
    assert not Secrets()
    assert not Secrets().are_in(b"x")


@pytest.mark.parametrize("values", [["seven77"], ["hunter2-hunter", "x"]])
def test_a_secret_that_harmless_text_would_hold_is_refused(values: list[str]) -> None:
    with pytest.raises(InputError, match="fewer than 8"):
        Secrets().add(values)


def test_more_may_be_lent_later() -> None:
    secrets = secrets_of("hunter2-hunter")
    secrets.add(["another-one", ""])
    assert secrets.hide_in("hunter2-hunter another-one") == f"{REDACTED} {REDACTED}"


def test_a_key_is_found_in_the_lines_that_its_base64_is_broken_into() -> None:
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIB"
    key = "\n".join(["-----BEGIN KEY-----", *(f"{n}{line}" for n in range(9)), "--"])
    body = base64.encodebytes(key.encode())
    hidden = secrets_of(key).hide_in(body.decode())
    assert secrets_of(key).are_in(body)
    assert len(hidden.replace(REDACTED, "")) < 120  # what stands between the lines


def test_what_threads_add_at_the_same_time_is_all_kept() -> None:
    secrets = Secrets()
    values = [f"hunter-number-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(secrets.add, ([value] for value in values)))
    assert secrets.hide_in(" ".join(values)) == " ".join([REDACTED] * 40)

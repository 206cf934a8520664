from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.domain.redaction import MAX_DEPTH, REDACTED, redact, redact_text

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nq83v\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"before {PEM} after", "MIIEowIBAAKCAQEA"),
        ("-----BEGIN PRIVATE KEY-----\nnever ended hunter2", "hunter2"),
        ("pushed with ghp_0123456789abcdefABCDEF0123456789abcd", "ghp_"),
        ("github_pat_11ABCDEFG0123456789_abcdefghij", "github_pat_"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ("aws wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "bPxRfiCY"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP", "eyJzdWIi"),
        ("postgresql://app:hunter2@db.internal/orders", "hunter2"),
        ("redis://:hunter2@cache:6379/0", "hunter2"),
        ("amqp://app:p@ss/w0rd@queue", "w0rd"),
        ("git clone https://sometokenwithoutshape@host/x.git", "sometoken"),
        ("Server=db;User Id=app;Password=hunter2;Encrypt=yes", "hunter2"),
        ("DefaultEndpointsProtocol=https;AccountKey=ab+/12==;EndpointSuffix=x", "ab+/12"),
        ("https://x.blob/c?sv=2024&sig=abc%2Bdef&se=2027", "abc%2Bdef"),
        ("connect failed: password: 'my pass phrase' refused", "pass phrase"),
        ('{"client_secret": "hunter2"}', "hunter2"),
        ("deploy --password hunter2 --force", "hunter2"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        ("curl -H 'X: Bearer abcdefghijklmnopqrst'", "abcdefghij"),
    ],
)
def test_a_secret_in_text_is_taken_out(text: str, secret: str) -> None:
    assert secret in text
    clean = redact_text(text)
    assert secret not in clean
    assert REDACTED in clean


@pytest.mark.parametrize(
    "text",
    [
        "multi-tenant user management with role-based access",
        "a token bucket limits requests; the secret santa feature is basic authentication",
        "services/orders/src/domain/OrderAggregateRepository2.py",
        "the MultiTenantUserManagementServiceV2Factory class",
        "https://host:8080/path?mail=a@example.org",
        "run run-01k9zq3v7w8x2y4b5c6d7e8f9g failed",
        "no room in /srv/run-01k9zq3v7w8x2y4b5c6d7e8f9g/550e8400-e29b-41d4-a716-446655440000",
        "flow-run/550e8400-e29b-41d4-a716-446655440000",
        "naïve «текст» 漢字",
        "",
    ],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


ALPHABETS = {
    "hex": "0123456789abcdef",
    "base32": string.ascii_uppercase + "234567",
    "base36": string.ascii_lowercase + string.digits,
    "base62": string.ascii_letters + string.digits,
    "base64": string.ascii_letters + string.digits + "+/",
    "url-safe": string.ascii_letters + string.digits + "-_",
}


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_what_a_generator_made_is_taken_out(alphabet: str) -> None:
    generator = random.Random(alphabet)  # noqa: S311 - the same ones every time
    made = ["".join(generator.choices(ALPHABETS[alphabet], k=43)) for _ in range(200)]
    kept = [text for text in made if text in redact_text(f"use {text} here")]
    # Some look like words by chance; next to none may.
    assert len(kept) <= 10


@pytest.mark.parametrize(
    "key",
    ["password", "dbPassword", "DB_PASSWORD", "api_key", "apiKey", "accessToken", "client-secret"],
)
@pytest.mark.parametrize("value", ["x", 12345, ["x"], {"inner": "x"}])
def test_a_value_under_a_secret_key_is_taken_out_whole(key: str, value: Any) -> None:
    assert redact({"a": [{key: value}]}) == {"a": [{key: REDACTED}]}


@pytest.mark.parametrize(
    "value",
    [
        {"service_name": "orders", "entities": ["order"], "replicas": 3, "public": True},
        {"primary_key": "id", "partitionKey": "tenant", "keyboard": "qwerty", "author": "Ann"},
        {"rotate_secrets": True, "password": None},
    ],
)
def test_a_value_under_a_plain_key_stays(value: dict[str, Any]) -> None:
    assert redact(value) == value


def test_a_secret_in_a_key_is_taken_out() -> None:
    assert redact({"AKIAIOSFODNN7EXAMPLE": 1}) == {REDACTED: 1}


def test_endless_depth_is_cut() -> None:
    value: Any = "hunter2"
    for _ in range(10_000):
        value = [value]
    clean: Any = redact(value)
    for _ in range(MAX_DEPTH):
        (clean,) = clean
    assert clean == REDACTED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_redacting_twice_is_redacting_once(value: Any) -> None:
    assert redact(redact(value)) == redact(value)

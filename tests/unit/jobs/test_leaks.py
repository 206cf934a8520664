"""Secrets that nobody told us of: found by their shape, with file and line, and little else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

import factory_runtime
from factory_runtime.domain.errors import SecretLeakError
from factory_runtime.jobs.leaks import LARGEST, Leak, find_leaks, refuse_leaks

LETTERS = "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD"  # random enough, and nobody's


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


JWT = f"{segment({'alg': 'HS256'})}.{segment({'sub': 'ada', 'admin': True})}.{LETTERS}"
GITHUB = f"ghp_{LETTERS}Ab12"
PEM = "\n".join(["-----BEGIN PRIVATE " + "KEY-----", LETTERS * 2, LETTERS, "-----END KEY-----"])
# Put together here: as they are, they would be found in this file, too.
SECRETS = {
    "AWS Access Key": ["AKIA" + "Q3EGRWJZ7N5TMC2X", f'aws_secret_key = "{LETTERS}Zz19Yy28"'],
    "Azure Storage Account access key": [f"AccountKey={LETTERS * 2}{LETTERS[:22]}=="],
    "Basic Auth Credentials": ["postgresql://app:hunter2" + "-hunter@db:5432/orders"],
    "GitHub Token": [GITHUB],
    "GitLab Token": ["glpat-" + LETTERS[:20], "glcbt-1f_" + LETTERS[:24]],
    "JSON Web Token": [JWT],
    "NPM tokens": ["//registry.example/:_authToken=npm_" + LETTERS],
    "OpenAI Token": [f"sk-{LETTERS[:20]}T3BlbkFJ{LETTERS[:20]}"],
    "Private Key": [PEM],
    "PyPI Token": ["pypi-AgEIcHlwaS5vcmc" + LETTERS * 3],
    "SendGrid API Key": [f"SG.{LETTERS[:22]}.{(LETTERS * 2)[:43]}"],
    "Slack Token": ["xoxb-123456789012-" + LETTERS.lower()],
    "Stripe Access Key": ["sk_live_" + LETTERS[:24]],
    "Twilio API Key": ["SK" + LETTERS.lower()],
}
HARMLESS = [
    'f"postgresql://{user}:{password}@{host}/{name}"',
    "postgres://postgres:postgres@localhost:5432/app",
    "amqp://guest:guest@rabbit, https://user:your-password@host, redis://:${REDIS_PASSWORD}@redis",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "password: ${{ secrets.DATABASE_PASSWORD }}",
    "https://host:8080/a@b",
    "sha512-" + LETTERS * 2,
    "eyJ is how the base64 of an object begins, and eyJhbGciOiJ.not-one",
    "commit 7e76f1193cd1ab8f1dd4e5e0f3a86a1f8b0a0c11, token: str, api_key=None",
]


SAMPLES = [(kind, sample) for kind, some in SECRETS.items() for sample in some]


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_a_key_of_a_known_service_is_found_with_its_place(kind: str, sample: str) -> None:
    (leak,) = find_leaks("src/a.py", f"first\n\nx = 1; {sample}\nlast\n".encode())
    assert (leak.path, leak.line, leak.kind) == ("src/a.py", 3, kind)
    assert leak.secret in sample
    assert len(leak.secret) >= 12
    assert leak.secret not in repr(leak)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_is_let_be(text: str) -> None:
    assert find_leaks("a.md", text.encode()) == ()


def test_nothing_is_found_in_what_is_built_in() -> None:
    here = Path(factory_runtime.__file__).parent
    found = [
        leak
        for folder in (here / "templates", here / "jobs" / "sources")
        for file in folder.rglob("*")
        if file.is_file()
        for leak in find_leaks(str(file), file.read_bytes())
    ]
    assert found == []


def test_all_of_a_secret_is_known_where_its_shape_ends_before_it() -> None:
    (jwt,) = find_leaks("a", f"token={JWT}\n".encode())
    assert jwt.secret == JWT
    (key,) = find_leaks("a", f"before\n{PEM}\nafter\n".encode())
    assert LETTERS * 2 in key.secret
    assert "after" not in key.secret
    (folded,) = find_leaks("a", json.dumps({"key": PEM}).encode())
    assert LETTERS in folded.secret


@pytest.mark.parametrize(
    "line",
    [
        f'x = "{GITHUB}"  # pragma: allowlist secret',
        f"x: {GITHUB} // pragma: allowlist secret",
        f"<a>{GITHUB}</a> <!-- pragma: allowlist secret -->",
        f"# pragma: allowlist nextline secret\nx = '{GITHUB}'",
    ],
)
def test_a_line_that_says_so_is_let_be(line: str) -> None:
    assert find_leaks("a", f"one\n{line}\n".encode()) == ()
    (leak,) = find_leaks("a", f"one\n{line}\ny = {JWT}".encode())
    assert leak.kind == "JSON Web Token"


@pytest.mark.parametrize("before", [3000, 4090, 5000, 200_000])
def test_it_is_found_anywhere_in_a_line_that_was_minified(before: int) -> None:
    text = f"one\n{'eyJ ' * (before // 4)}{GITHUB} {'x=' * 9000}\nthree\n"
    assert [(leak.line, leak.secret) for leak in find_leaks("a.js", text.encode())] == [(2, GITHUB)]


def test_text_is_read_as_it_is_written_and_what_is_no_text_is_not_looked_at() -> None:
    said = f"x = {GITHUB}\r\n"
    assert len(find_leaks("a", said.encode("utf-16"))) == 1
    assert len(find_leaks("a", b"\xff\xfe"[::-1] + said.encode("utf-16-be"))) == 1
    assert len(find_leaks("a", "größer ".encode("latin-1") + said.encode())) == 1
    assert find_leaks("a.png", b"\x89PNG\0" + said.encode()) == ()


def test_what_is_larger_than_files_are_is_looked_at_as_far_as_said() -> None:
    filler = b"x = 1\n" * (LARGEST // 6)
    assert len(find_leaks("a", GITHUB.encode() + b"\n" + filler)) == 1
    assert find_leaks("a", filler + b"\n" + GITHUB.encode()) == ()


def test_the_same_bytes_are_looked_at_once_and_always_refused() -> None:
    for _ in range(2):
        assert find_leaks("a", b"nothing") == ()
        assert len(find_leaks("a", GITHUB.encode())) == 1


def test_of_very_many_some_are_enough() -> None:
    tokens = "\n".join(f"ghp_{LETTERS}{number:04}" for number in range(5000))
    found = find_leaks("a", tokens.encode())
    assert 5 < len(found) < 100
    assert found[-1].line == len(found)


def test_the_error_names_places_and_no_secret() -> None:
    refuse_leaks([])
    leaks = [Leak(f"f{number}", number, "GitHub Token", GITHUB) for number in range(1, 8)]
    with pytest.raises(SecretLeakError) as error:
        refuse_leaks(leaks)
    assert "f1:1: GitHub Token; f2:2: GitHub Token" in str(error.value)
    assert "f5:5: GitHub Token; and more" in str(error.value)
    assert "pragma: allowlist secret" in error.value.explain()
    assert GITHUB not in repr(error.value) + error.value.explain()
    assert set(error.value.secrets) == {GITHUB}

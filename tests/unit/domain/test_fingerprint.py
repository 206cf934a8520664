"""What makes two failures one kind: fingerprints of real messages, by hand and by chance."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_runtime.domain.fingerprint import fingerprint
from factory_runtime.domain.ids import new_id

QUICK = settings(max_examples=80)

ULIDS = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=25, max_size=25).map("0{}".format)
IDS = st.builds("{}-{}".format, st.sampled_from(["run", "job", "art", "letter"]), ULIDS)
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=9)
PATHS = st.lists(WORDS, min_size=2, max_size=4).map(lambda parts: "/" + "/".join(parts))
DIGESTS = st.text("0123456789abcdef", min_size=20, max_size=64).map("{}0f".format)
TIMES = st.integers(0, 4 * 10**9).map(lambda at: datetime.fromtimestamp(at, UTC).isoformat())
HOSTS = st.builds("{}.example.com:{}".format, WORDS, st.integers(10, 65535))
QUOTED = st.text(
    st.characters(exclude_characters="'\n\r", exclude_categories=["Cs", "Cc"]), max_size=30
).map("'{}'".format)
NUMBERS = st.integers(0, 10**12).map(str) | st.floats(0, 1e6).map("{:.3f}".format)
ITEMS = WORDS.map("apply-domain[{}]".format)


def told(
    run: str, path: str, digest: str, at: str, host: str, quoted: str, n: str, uuid: UUID
) -> str:
    return (
        f"{run}: {host} refused {quoted} after {n} s at {at}: object {digest} of {uuid} is not in"
        f" {path}\nask its owner"
    )


VARYING = st.builds(told, IDS, PATHS, DIGESTS, TIMES, HOSTS, QUOTED, NUMBERS, st.uuids())


@QUICK
@given(VARYING, VARYING)
def test_the_same_failure_meets_whoever_it_hits(one: str, other: str) -> None:
    assert fingerprint("host-rejected", one, "act") == fingerprint("host-rejected", other, "act")


@QUICK
@given(st.text(max_size=200), WORDS, WORDS, WORDS)
def test_different_classes_never_meet(message: str, code: str, other: str, job_type: str) -> None:
    here, words = fingerprint(code, message, job_type)
    assert (fingerprint(other, message, job_type)[0] == here) == (other == code)
    assert (fingerprint(code, message, other)[0] == here) == (other == job_type)
    # Nothing runs over from one part into the next.
    assert fingerprint(code + job_type, message, "")[0] != here
    assert fingerprint(code, words + job_type, "")[0] != here


@QUICK
@given(ITEMS, ITEMS, IDS, IDS, WORDS, WORDS)
def test_names_of_the_run_and_its_job_do_not_count(
    step: str, step2: str, run: str, run2: str, project: str, project2: str
) -> None:
    def of(step: str, run: str, project: str) -> tuple[str, str]:
        message = f"job {step} of {run} cannot write to {project}."
        return fingerprint("host-rejected", message, "act", names=(step, run, project))

    if {project, project2}.isdisjoint({"job", "of", "cannot", "write", "to", "id", "item"}):
        assert of(step, run, project) == of(step2, run2, project2)


@QUICK
@given(st.text(max_size=5000))
def test_any_text_has_a_fingerprint_of_bounded_length(message: str) -> None:
    digits, words = fingerprint("x", message, "act", names=(message[:50], "", "a"))
    assert len(digits) == 64
    assert len(words) <= 500
    assert digits == fingerprint("x", message, "act", names=("a", message[:50]))[0]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/tmp/x/y.txt'",
            "FileNotFoundError: [Errno <n>] No such file or directory: <value>",
        ),
        ("the host answered HTTP 503 after 3.5 s", "the host answered HTTP 503 after <n> s"),
        ("exit code 2, signal 9", "exit code 2, signal 9"),
        ("https://dev.azure.com/o/p/_git/x is away", "<url> is away"),
        (r"C:\Users\ada\x.txt is missing", "<path> is missing"),
        ("commit 4f5a6b7 is not in shop/orders", "commit <n> is not in <path>"),
        ("at 12:00:03.5 on 2026-11-21", "at <time> on <time>"),
        ("10.0.0.1 and 10.0.0.1:8080 and localhost:80", "<host> and <host> and <host>"),
        ("can't do it, won't do it", "can't do it, won't do it"),
        ("the facade decade", "the facade decade"),
        ("step apply-domain[order] of 3", "step apply-domain<item> of <n>"),
        ("many\n  lines\t of text", "many lines of text"),
        ("", ""),
    ],
)
def test_what_varies_is_taken_out_of_a_message(message: str, words: str) -> None:
    assert fingerprint("x", message, "act")[1] == words


def test_a_status_code_tells_two_failures_apart() -> None:
    busy, gone = (fingerprint("host-busy", f"HTTP {n}", "act")[0] for n in (503, 410))
    assert busy != gone


def test_our_own_ids_do_not_count() -> None:
    one, other = (fingerprint("x", f"{new_id('run')} is gone", "act") for _ in range(2))
    assert one == other
    assert one[1] == "<id> is gone"


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "'", '"', "/", "a/", "1:", "[a", "“", "http://", "a-", "\\", "0x", "::", "f"],
)
def test_no_text_keeps_it_busy(piece: str) -> None:
    # Quadratic in ten times what is looked at, this would take minutes.
    message = piece * (400_000 // len(piece))
    assert len(fingerprint("x", message, "act")[1]) <= 500

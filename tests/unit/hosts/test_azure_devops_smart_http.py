"""What git's smart HTTP protocol says of a push, well and badly."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.hosts.azure_devops.smart_http import (
    Offer,
    UnreadableError,
    read_offer,
    read_report,
    write_command,
)

ONE, TWO = "1" * 40, "2" * 40
MAIN = "refs/heads/main"
BEGIN = b"001f# service=git-receive-pack\n0000"
PLAIN = Offer({}, frozenset({"report-status"}))
BANDED = Offer({}, frozenset({"report-status", "side-band-64k"}))


def packet(text: str | bytes) -> bytes:
    body = text.encode() if isinstance(text, str) else text
    return b"%04x" % (len(body) + 4) + body


def report(*lines: str) -> bytes:
    return b"".join(map(packet, lines)) + b"0000"


def banded(*pieces: tuple[int, bytes]) -> bytes:
    return b"".join(packet(bytes([band]) + piece) for band, piece in pieces) + b"0000"


def test_branches_and_tags_are_offered_and_nothing_else() -> None:
    lines = [
        f"{ONE} {MAIN}\0report-status side-band-64k agent=git/2\n",
        f"{TWO} refs/pull/7/merge\n",
        f"{TWO} refs/tags/factory/origin\n",
        f"{ONE} refs/tags/factory/origin^{{}}\n",
    ]
    offer = read_offer(BEGIN + report(*lines))
    assert offer.refs == {MAIN: ONE, "refs/tags/factory/origin": TWO}
    assert {"report-status", "side-band-64k"} <= offer.capabilities
    assert not offer.takes_offsets


def test_an_empty_repository_offers_no_refs() -> None:
    offer = read_offer(BEGIN + report(f"{'0' * 40} capabilities^{{}}\0report-status\n"))
    assert offer == Offer({}, frozenset({"report-status"}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "offers no refs"),
        (b"0000", "offers no refs"),
        (b"001e# service=git-upload-pack\n0000", "offers no refs"),
        (BEGIN + packet("ERR TF401019: gone"), "TF401019: gone"),
        (BEGIN + b"00ff" + ONE.encode(), "cut off"),
        (BEGIN + b"0003", "cut off"),
        (BEGIN + b"<htm", "no length"),
    ],
)
def test_what_is_no_offer_is_told(body: bytes, words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        read_offer(body)


def test_a_command_asks_for_what_is_offered_alone() -> None:
    assert write_command(BANDED, TWO, MAIN, ONE) == (
        packet(f"{ONE} {TWO} {MAIN}\0report-status side-band-64k") + b"0000"
    )
    assert write_command(PLAIN, TWO, MAIN, None) == (
        packet(f"{'0' * 40} {TWO} {MAIN}\0report-status") + b"0000"
    )


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("unpack ok\n", f"ok {MAIN}\n"), None),
        (
            ("unpack ok\n", f"ng {MAIN} TF402455: use a pull request\n"),
            "TF402455: use a pull request",
        ),
        (
            ("unpack error VS403658: too large\n", f"ng {MAIN} unpacker error\n"),
            "error VS403658: too large",
        ),
        (("unpack error\n", f"ng {MAIN} VS403654: a secret\n"), "VS403654: a secret"),
        (("unpack index-pack abnormal exit\n",), "index-pack abnormal exit"),
        (("unpack index-pack abnormal exit\n", f"ok {MAIN}\n"), "index-pack abnormal exit"),
        (("unpack \n", f"ok {MAIN}\n"), "unpacker error"),
        (("unpack ok\n", f"ng {MAIN}\n"), "unpacker error"),
        (("unpack ok\n", f"ng {MAIN} \n", f"ok {MAIN}\n"), "unpacker error"),
    ],
)
def test_a_report_says_what_has_become_of_a_ref(lines: tuple[str, ...], why: str | None) -> None:
    body = report(*lines)
    assert read_report(body, PLAIN, MAIN) == why
    pieces = [(1, body[at : at + 3]) for at in range(0, len(body), 3)]
    told = banded((2, b"Analyzing objects... (5/5)"), *pieces, (2, b""))
    assert read_report(told, BANDED, MAIN) == why


@pytest.mark.parametrize(
    ("body", "offer"),
    [
        (b"", PLAIN),
        (report("unpack ok\n"), PLAIN),
        (report(f"ok {MAIN}\n"), PLAIN),
        (packet("ERR TF401027: no"), PLAIN),
        (packet("ERR TF401027: no"), BANDED),
        (report("unpack ok\n", "ok refs/heads/other\n"), PLAIN),
        (report("unpack ok\n", f"ok {MAIN}\n")[:-12], PLAIN),
        (banded((2, b"Storing packfile...")), BANDED),
        (banded((3, b"TF400898: An Internal Error Occurred.")), BANDED),
    ],
)
def test_a_report_that_does_not_say_it_is_unreadable(body: bytes, offer: Offer) -> None:
    with pytest.raises(UnreadableError):
        read_report(body, offer, MAIN)


@given(st.binary(max_size=200), st.sampled_from([b"", BEGIN, packet("unpack ok")]))
def test_whatever_is_said_there_is_one_error(body: bytes, begin: bytes) -> None:
    with contextlib.suppress(UnreadableError):
        read_offer(begin + body)
    for offer in (PLAIN, BANDED):
        with contextlib.suppress(UnreadableError):
            read_report(begin + body, offer, MAIN)


def test_what_git_itself_offers_is_read(tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    ask = ["git", "receive-pack", "--advertise-refs", bare]
    told = subprocess.run(ask, check=True, capture_output=True).stdout
    offer = read_offer(BEGIN + told)
    assert offer.refs == {}
    assert {"report-status", "side-band-64k"} <= offer.capabilities
    assert offer.takes_offsets

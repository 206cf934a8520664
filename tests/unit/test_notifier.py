"""Sending a notice to real receivers: delivered, refused, or given up in time; no secret told."""

from __future__ import annotations

import html
import json
import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.errors import FactoryError, HostBusyError, InputError
from factory_runtime.domain.notice import Severity
from factory_runtime.notifications.notifier import AppriseNotifier
from tests.receivers import WebReceiver, a_notice, mail_receiver, web_receiver

CANARY = "s3cr3tCanary7391"


@pytest.fixture
def web() -> Generator[WebReceiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "stack" / "notices.log"


@pytest.fixture
def notifier(log_file: Path) -> AppriseNotifier:
    return AppriseNotifier(log_file, {"CANARY": CANARY})


def test_a_web_service_is_given_text_severity_key_and_facts(
    notifier: AppriseNotifier, web: WebReceiver
):
    notice = a_notice(severity=Severity.FAILURE, run_id="run-1", facts={"letters": 3, "type": "x"})
    notifier.send(web.address("/in"), notice)
    (request,) = web.requests
    assert request.path == "/in"
    assert request.headers["X-Factory-Notice"] == notice.key
    assert request.body["title"] == notice.title
    assert request.body["message"] == f"{notice.body}\n\n({notice.key})"
    assert request.body["type"] == "failure"  # a fact of that name does not take its place
    assert (request.body["kind"], request.body["run"]) == ("dead-letter", "run-1")
    assert request.body["letters"] == 3


def test_a_letter_is_sent_by_mail(notifier: AppriseNotifier):
    notice = a_notice(title="two\r\nBcc: everybody@example.com lines")
    with mail_receiver() as mail:
        notifier.send(mail.address(), notice)
    (letter,) = mail.letters
    assert letter["Subject"] == "two Bcc: everybody@example.com lines"
    assert letter["Bcc"] is None
    assert letter["X-Factory-Notice"] == notice.key


HOSTILE = "<a href=http://evil.example>Approve</a> <name> *now* [it](http://evil.example)"


def test_what_others_wrote_is_shown_in_a_mail_and_not_carried_out(notifier: AppriseNotifier):
    with mail_receiver() as mail:
        notifier.send(mail.address(), a_notice(title=HOSTILE, body=f"says {HOSTILE}\nand <b>"))
    (letter,) = mail.letters
    parts = {part.get_content_type(): part.get_payload(decode=True) for part in letter.walk()}
    page, text = parts["text/html"], parts["text/plain"]
    assert isinstance(page, bytes)
    assert isinstance(text, bytes)
    assert not re.search(rb"<(?!br ?/>)", page)  # no tag but line breaks
    assert f"says {HOSTILE}\nand <b>" in html.unescape(page.decode()).replace("\xa0", " ").replace(
        "<br/>", "\n"
    )
    assert text.decode().startswith(f"says {HOSTILE}")
    assert letter["Subject"] == HOSTILE


MENTIONS = "@everyone <!channel> <@U6TTX1F9R> https://evil.example|Approve> x@here"
TOKEN = "a" * 24


@pytest.mark.parametrize(
    "address", [f"mmost://127.0.0.1:{{}}/{TOKEN}", f"rocket://{TOKEN}/{TOKEN}@127.0.0.1:{{}}/#ops"]
)
def test_what_others_wrote_calls_nobody_in_a_chat(
    notifier: AppriseNotifier, web: WebReceiver, address: str
):
    hostile = f"{HOSTILE} {MENTIONS}"
    notifier.send(address.format(web.port), a_notice(title=hostile, body=hostile))
    (request,) = web.requests
    said = str(request.body["text"])
    assert said.count("everyone") == 2
    assert not re.search(r"@\w", said)


@pytest.mark.parametrize("status", [302, 401, 503])
def test_who_does_not_take_it_is_to_be_tried_again(
    notifier: AppriseNotifier, web: WebReceiver, status: int
):
    web.answers = [status]
    with pytest.raises(HostBusyError, match=f"answered {status}"):
        notifier.send(web.address("/moved"), a_notice())
    assert len(web.requests) == 1


def test_who_is_not_there_is_to_be_tried_again(notifier: AppriseNotifier):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(HostBusyError, match="cannot be reached"):
            notifier.send(f"json://127.0.0.1:{nobody.getsockname()[1]}/", a_notice())


@pytest.mark.parametrize("path", ["/hang", "/trickle"])
def test_who_never_ends_his_answer_is_left_in_time(log_file: Path, web: WebReceiver, path: str):
    impatient = AppriseNotifier(log_file, patience=timedelta(seconds=2))
    # Apprise itself would wait a minute for each next byte.
    with pytest.raises(HostBusyError, match="in time"):
        impatient.send(web.address(f"{path}?rto=60&cto=60"), a_notice())


def test_what_sends_ends_by_itself_though_nobody_is_left_to_end_it(web: WebReceiver):
    order = {"to": web.address("/hang?rto=60"), "title": "", "body": "x", "severity": "info"}
    order |= {"key": "k", "extras": {}, "seconds": 2}
    done = subprocess.run(
        [sys.executable, "-m", "factory_runtime.notifications.sending"],
        input=json.dumps(order), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, "")


def test_a_child_that_cannot_work_is_no_target_that_is_slow(
    notifier: AppriseNotifier, web: WebReceiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HostBusyError, match="ended with 1"):
        notifier.send(web.address(), a_notice())


def test_a_key_and_texts_of_any_kind_are_sent(notifier: AppriseNotifier, web: WebReceiver):
    notifier.send(
        web.address(), a_notice(key="schl\u00fcssel-\u2713", title="t" * 999, body="\ud800\0")
    )
    assert web.keys == ["schl?ssel-?"]
    assert len(web.requests[0].body["title"]) == 250


@pytest.mark.parametrize("address", ["", "nope://x", "json://", "not an address"])
def test_an_address_that_makes_no_sense_is_refused(notifier: AppriseNotifier, address: str):
    with pytest.raises(InputError, match="no sense"):
        notifier.send(address, a_notice())


def test_a_name_in_an_address_is_read_from_the_environment(
    notifier: AppriseNotifier, web: WebReceiver
):
    notifier.send(web.address("/hooks/$CANARY"), a_notice())
    assert [request.path for request in web.requests] == [f"/hooks/{CANARY}"]
    with pytest.raises(InputError, match="the environment has no FACTORY_NOBODY_SET_IT"):
        notifier.send(web.address("/$FACTORY_NOBODY_SET_IT"), a_notice())


def test_no_error_and_no_log_tells_an_address(
    log_file: Path,
    web: WebReceiver,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.DEBUG)
    notifier = AppriseNotifier(log_file, {"CANARY": CANARY}, timedelta(seconds=2))
    web.answers = [403]
    places = [
        web.address("/$CANARY"),
        web.address("/hang/$CANARY"),
        "json://user:$CANARY@127.0.0.1:1/$CANARY",
        f"nope://{CANARY}",
        "slack://$CANARY",
        f"json://127.0.0.1:99999999/{CANARY}",
    ]
    for place in places:
        with pytest.raises(FactoryError) as raised:
            notifier.send(place, a_notice())
        assert CANARY not in raised.value.explain()
        assert CANARY not in repr(raised.value.__cause__)
    out, err = capfd.readouterr()
    assert CANARY not in caplog.text + out + err
    assert not log_file.exists()


def test_the_log_of_our_own_keeps_all_of_it(notifier: AppriseNotifier, log_file: Path):
    notice = a_notice(title="one\x1b[31m line\nand another")
    notifier.send("log:", notice)
    notifier.send("log://", a_notice(key="second"))
    lines = log_file.read_text().splitlines()
    assert lines[:5] == [
        "2026-11-21T12:00:00+00:00 info dead-letter acme: one [31m line and another",
        "    the host is gone",
        "    factory dead-letters list",
        "    (dead-letter:abc)",
        "2026-11-21T12:00:00+00:00 info dead-letter acme: A new kind of failure",
    ]
    assert log_file.stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_written_is_tried_again(tmp_path: Path):
    (tmp_path / "notices.log").mkdir()
    with pytest.raises(HostBusyError, match="cannot be written"):
        AppriseNotifier(tmp_path / "notices.log").send("log:", a_notice())


class Addresses(dict[str, str]):
    """An address book in memory."""

    def address_of(self, name: str) -> str:
        if name not in self:
            raise InputError(f"there is no {name}")
        return self[name]


def test_an_address_that_is_kept_elsewhere_is_looked_up_each_time(log_file: Path, web: WebReceiver):
    kept = Addresses({"on-call": web.address(f"/{CANARY}")})
    notifier = AppriseNotifier(log_file, addresses=kept)
    notifier.send("block:on-call", a_notice())
    kept["on-call"] = web.address("/changed")
    notifier.send("block:on-call", a_notice())
    assert [request.path for request in web.requests] == [f"/{CANARY}", "/changed"]


def test_what_is_kept_elsewhere_is_an_address_and_no_variable_of_ours(log_file: Path):
    notifier = AppriseNotifier(
        log_file, {"CANARY": CANARY}, addresses=Addresses({"sly": "json://127.0.0.1:1/$CANARY"})
    )
    with pytest.raises(HostBusyError) as refused:
        notifier.send("block:sly", a_notice())
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("addresses", [None, Addresses()])
def test_an_address_that_nobody_keeps_is_refused_by_its_name(
    log_file: Path, addresses: Addresses | None
):
    with pytest.raises(InputError, match="on-call"):
        AppriseNotifier(log_file, addresses=addresses).send("block:on-call", a_notice())

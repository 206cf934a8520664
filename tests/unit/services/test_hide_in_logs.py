"""While a secret is lent no logger says it, and every logger works as it does without."""

from __future__ import annotations

import gc
import io
import logging
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
from prefect.logging.formatters import JsonFormatter
from rich.console import Console
from rich.logging import RichHandler

from factory_runtime.domain.secrets import Secrets
from factory_runtime.services.hide_in_logs import hide_in_logs

CANARY = "s3cr3tCanary 7391"


class Odd:
    """Cannot be copied without what it holds, and shows it."""

    def __str__(self) -> str:
        return f"odd {CANARY}"


@pytest.fixture
def lent() -> Secrets:
    secrets = Secrets()
    secrets.add([CANARY])
    hide_in_logs(secrets)
    return secrets


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=["plain", "json", "rich"])
def logger(request: pytest.FixtureRequest, said: io.StringIO) -> Generator[logging.Logger]:
    """Writes what it is told into ``said``, the way that handlers of others do."""
    handler: logging.Handler = logging.StreamHandler(said)
    if request.param == "plain":
        handler.setFormatter(logging.Formatter("%(message)s %(extra)s", defaults={"extra": ""}))
    elif request.param == "json":
        handler.setFormatter(JsonFormatter("default", "", "%"))
    else:
        handler = RichHandler(console=Console(file=said, width=200), rich_tracebacks=True)
    made = logging.getLogger("of-somebody-else")
    made.propagate = False
    made.addHandler(handler)
    yield made
    made.removeHandler(handler)


def test_no_formatter_finds_a_secret_in_an_error(
    lent: Secrets, logger: logging.Logger, said: io.StringIO
) -> None:
    try:
        raise ValueError(f"401 for https://x:{CANARY}@host")
    except ValueError:
        logger.exception("%s failed", CANARY, stack_info=True)
    assert "(redacted) failed" in said.getvalue()
    assert CANARY not in said.getvalue()


@pytest.mark.parametrize(
    "value", [CANARY, {"url": [f"x:{CANARY}@host"]}, Odd(), ValueError(CANARY)]
)
def test_nor_in_what_is_told_beside_the_message(
    lent: Secrets, logger: logging.Logger, said: io.StringIO, value: Any
) -> None:
    logger.warning("asked", extra={"extra": value})
    assert "asked" in said.getvalue()
    assert CANARY not in said.getvalue()


def test_what_says_nothing_of_it_stays_the_value_it_is(
    lent: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    value = {"a": object()}
    logging.getLogger("elsewhere").warning("asked", extra={"extra": value})
    assert vars(caplog.records[-1])["extra"] is value


@pytest.mark.parametrize("message", ["took %d seconds", "took %s and %s"])
def test_a_wrong_format_is_no_error_of_who_logs(
    lent: Secrets, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    logging.getLogger("elsewhere").warning(message, CANARY)
    assert "do not fit" in caplog.text
    assert CANARY not in caplog.text


def test_others_may_make_records_their_own_way_between_two_loans(
    lent: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = theirs(*args, **kwargs)
        vars(record)["theirs"] = f"saw {CANARY}"
        return record

    logging.setLogRecordFactory(make)
    try:
        another = Secrets()
        another.add(["another-secret-1"])
        hide_in_logs(another)
        logging.getLogger("elsewhere").warning("%s and another-secret-1", CANARY)
    finally:
        logging.setLogRecordFactory(theirs)
    assert caplog.records[-1].getMessage() == "(redacted) and (redacted)"
    assert vars(caplog.records[-1])["theirs"] == "saw (redacted)"


def test_a_secret_is_lent_while_others_log(lent: Secrets) -> None:
    until = time.monotonic() + 1
    errors: list[Exception] = []
    made = logging.Logger("elsewhere")
    made.addHandler(logging.NullHandler())

    def lend() -> None:
        while time.monotonic() < until:
            hide_in_logs(Secrets())

    def say() -> None:
        try:
            while time.monotonic() < until:
                made.warning("hello")
        except Exception as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for work in (lend, lend, say, say)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert errors == []


def test_once_nobody_holds_it_records_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets()
    secrets.add(["held-by-nobody-1"])
    hide_in_logs(secrets)
    del secrets
    gc.collect()  # what other tests held
    logging.getLogger("elsewhere").warning("%s", "held-by-nobody-1")
    assert caplog.records[-1].args == ("held-by-nobody-1",)

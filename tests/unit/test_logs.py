"""Lines of our own processes' logs: nothing logged forges one, and each says what it is about."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.secrets import Secrets
from factory_runtime.services.hide_in_logs import hide_in_logs
from factory_runtime.telemetry.log_export import LogExport, sentence_of
from factory_runtime.telemetry.logs import JsonLines, TextLines, dimensions
from factory_runtime.telemetry.trace_context import TraceContext, inside_context
from tests.otlp import Collector, SentLine, collector

CANARY = "L0ggedCanary7731"
RUN = "run-01m7ysxj55z4e7h9b9jygnnpt3"
HERE = TraceContext("0a" * 16, "0b" * 8)
HOSTILE = "x\n2026-11-22 04:24:20,079 factory.api INFO forged\r\n\x1b[2J\x85\u2028\x00 \udc80 é"


class Said(io.StringIO):
    """What a logger has written."""

    def lines(self) -> list[str]:
        return self.getvalue().split("\n")[:-1]

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def logger() -> logging.Logger:
    """One below no other: what is hostile would end the worker that reports what was logged."""
    return logging.Logger("factory.tested", logging.INFO)


def writes(logger: logging.Logger, said: Said, lines: logging.Formatter) -> None:
    handler = logging.StreamHandler(said)
    handler.setFormatter(lines)
    logger.addHandler(handler)


def fail(message: str) -> None:
    raise HostBusyError(message)


def test_a_line_of_json_says_what_it_is_about(logger: logging.Logger, said: Said) -> None:
    writes(logger, said, JsonLines())
    with dimensions(tenantId="acme", runId=RUN, step=None), inside_context(HERE):
        with dimensions(step="make", attempt=2):
            logger.info("made %d files", 3)
        logger.warning("and then")
    logger.info("elsewhere")
    inner, outer, elsewhere = said.objects()
    assert (
        inner.items()
        >= {
            "level": "info",
            "logger": "factory.tested",
            "message": "made 3 files",
            "tenantId": "acme",
            "runId": RUN,
            "step": "make",
            "attempt": 2,
            "traceId": HERE.trace_id,
            "spanId": HERE.span_id,
        }.items()
    )
    assert inner["worker"].endswith(f":{os.getpid()}")
    assert inner["time"].endswith("+00:00")
    assert (outer["runId"], "step" in outer, outer["level"]) == (RUN, False, "warning")
    assert not {"runId", "traceId"} & elsewhere.keys()


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()], ids=["json", "text"])
def test_what_is_logged_forges_no_line(
    lines: logging.Formatter, logger: logging.Logger, said: Said
) -> None:
    writes(logger, said, lines)
    try:
        fail(HOSTILE)
    except HostBusyError:
        with dimensions(step=HOSTILE):
            logger.exception("it says %s", HOSTILE)
    whole = said.getvalue()
    assert all(character.isprintable() or character == "\n" for character in whole)
    whole.encode()
    first, *more = said.lines()
    if isinstance(lines, JsonLines):
        assert more == []
        assert json.loads(first)["message"].startswith("it says x\n2026-11-22")
        assert "HostBusyError" in json.loads(first)["error"]
    else:
        assert all(line.startswith("    ") for line in more)
        assert any("forged" in line for line in more)


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()], ids=["json", "text"])
def test_a_line_is_of_bounded_length(
    lines: logging.Formatter, logger: logging.Logger, said: Said
) -> None:
    writes(logger, said, lines)
    try:
        fail("e" * 10**6 + "and that was why")
    except HostBusyError:
        logger.exception("m" * 10**6)
    assert len(said.getvalue()) < 100_000
    assert "mmm" in said.getvalue()
    assert "and that was why" in said.getvalue()


def test_secrets_are_out_of_a_line_before_it_is_made(logger: logging.Logger, said: Said) -> None:
    writes(logger, said, JsonLines())
    secrets = Secrets()
    secrets.add([CANARY])
    hide_in_logs(secrets)
    try:
        fail(CANARY)
    except HostBusyError:
        logger.exception("with %s", CANARY)
    (line,) = said.objects()
    assert CANARY not in said.getvalue()
    assert (line["message"], "HostBusyError" in line["error"]) == ("with (redacted)", True)


STARTED = """
import logging
import prefect.logging
from prefect.logging.configuration import setup_logging
from factory_runtime.telemetry.logs import flush_logs, start_logging
setup_logging()
start_logging("json", "info")
start_logging("text", "error")
logging.getLogger("factory.executor").info("it is %s", "so")
logging.getLogger("httpx").info("asked")
flush_logs()
"""


def test_a_process_that_has_imported_prefect_logs_as_it_was_told(collected: Collector) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED],
        env=os.environ | collected.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"] == "it is so"
    assert [(line.logger, line.body) for line in collected.lines()] == [
        ("factory.executor", "it is …")
    ]


# --- sent by OTLP


@pytest.fixture(scope="module")
def collected() -> Generator[Collector]:
    with collector() as made:
        yield made


def sent(
    collected: Collector, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> LogExport:
    """A handler of the logger that sends to a collector which has nothing yet."""
    collected.asked.clear()
    for name, value in collected.environment.items():
        monkeypatch.setenv(name, value)
    export = LogExport()
    logger.addHandler(export)
    return export


def test_a_line_leaves_with_its_trace_and_without_what_it_was_filled_with(
    collected: Collector, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    export = sent(collected, monkeypatch, logger)
    with dimensions(tenantId="acme", runId=RUN, attempt=2), inside_context(HERE):
        try:
            fail(CANARY)
        except HostBusyError as error:
            logger.exception("%s of %s failed after %.1f s: %s", CANARY, RUN, 2.5, error)
        logger.debug("nothing of this")
    export.close()
    facts = {"factory.tenant-id": "acme", "factory.run-id": RUN, "factory.attempt": 2}
    body = f"… of {RUN} failed after 2.5 s: HostBusyError"
    assert collected.lines() == [
        SentLine(
            logger="factory.tested",
            severity="ERROR",
            body=body,
            trace_id=HERE.trace_id,
            span_id=HERE.span_id,
            attributes={**facts, "exception.type": "HostBusyError"},
        )
    ]
    assert not any(CANARY.encode() in body for body in collected.bodies)


def test_a_line_of_a_trace_that_is_none_leaves_without_it(
    collected: Collector, monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    export = sent(collected, monkeypatch, logger)
    with dimensions(traceId="ticket 7"):
        logger.info("so")
    export.close()
    (line,) = collected.lines()
    assert (line.body, line.trace_id) == ("so", "")


@pytest.mark.parametrize(
    ("message", "arguments", "sentence"),
    [
        ("%d of %s", ("two", "it"), "%d of %s"),
        ("took %s", (HostBusyError(CANARY),), "took HostBusyError"),
        ("is %s", (RunStatus.FAILED,), "is Failed"),
        ("%(a)s", ({"a": CANARY},), "%(a)s"),
        (ValueError(CANARY), (), "…"),
        ("plain", (), "plain"),
    ],
)
def test_a_sentence_is_what_our_code_says(
    message: Any, arguments: tuple[Any, ...], sentence: str
) -> None:
    record = logging.LogRecord("factory.x", logging.INFO, "", 1, message, arguments, None)
    assert sentence_of(record) == sentence


def test_a_sentence_that_secrets_were_taken_out_of_is_left_unfilled(
    logger: logging.Logger,
) -> None:
    secrets = Secrets()
    secrets.add([CANARY])
    hide_in_logs(secrets)
    record = logger.makeRecord("factory.x", logging.INFO, "", 1, "with %s", ("a tenant's",), None)
    assert record.getMessage() == "with a tenant's"
    assert sentence_of(record) == "with %s"


def test_an_endpoint_that_takes_no_logs_is_told_of_once(
    collected: Collector,
    monkeypatch: pytest.MonkeyPatch,
    logger: logging.Logger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    export = sent(collected, monkeypatch, logger)
    monkeypatch.setattr(collected, "is_refusing", True)
    for number in range(600):  # more than a batch
        logger.info("number %d", number)
    export.close()
    assert [record.message for record in caplog.records if record.name == "factory.logs"] == [
        "logs are lost: the OTLP endpoint does not take them"
    ]

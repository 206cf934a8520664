import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service import logs


class Log:
    """What is written to standard output while a test runs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def begin(self) -> None:
        # The capture is another stream in the test than it was when the application was made.
        logs.configure("INFO")

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(capsys)


def test_a_request_leaves_one_line_with_its_ids(client: TestClient, log: Log) -> None:
    log.begin()
    answer = client.get("/nowhere", headers={"X-Request-ID": "caller-0123"})
    assert answer.headers["X-Request-ID"] == "caller-0123"
    (line,) = log.lines("request")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/nowhere", 404)
    assert line["request_id"] == "caller-0123"
    assert len(line["trace_id"]) == 32


def test_an_unsafe_request_id_is_replaced(client: TestClient) -> None:
    answer = client.get("/health", headers={"X-Request-ID": 'x"} {"forged": 1}'})
    assert answer.headers["X-Request-ID"].isalnum()


def test_an_unhandled_error_is_logged_and_not_told(
    app: FastAPI, client: TestClient, log: Log
) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("secret detail")

    log.begin()
    answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret detail" not in answer.text
    (error,) = log.lines("unhandled error")
    assert "secret detail" in error["exception"]
    assert error["request_id"] == answer.headers["X-Request-ID"]

"""What a Prefect that cannot answer looks like to those who ask."""

from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import certifi
import pytest
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from factory_runtime.domain.errors import (
    HostRejectedError,
    PrefectFailedError,
    PrefectUnavailableError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.orchestration import prefect_api
from factory_runtime.orchestration.launch import PrefectLauncher
from factory_runtime.orchestration.prefect_api import GoneError, ask
from tests.builders import a_run
from tests.data_server import a_certificate

RUN = a_run(status=RunStatus.QUEUED, flow_run_id=str(uuid4()))
NEW = a_run(status=RunStatus.QUEUED)


@contextmanager
def answering(status: int, certificate: Path | None = None, **headers: str) -> Generator[list[str]]:
    """A server that answers everything with one status; what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST  # noqa: N815 - the name is the library's

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with asking(f"{scheme}://localhost:{server.server_port}/api"):
            yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def asking(api_url: str) -> Generator[None]:
    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}):
        yield


def launcher() -> PrefectLauncher:
    return PrefectLauncher(lambda run: run.inputs.inline)


@pytest.mark.parametrize("run", [RUN, NEW], ids=["again", "new"])
@pytest.mark.parametrize("status", [500, 401, 404])
def test_a_server_that_cannot_answer_now_is_unavailable(status: int, run: Run):
    with answering(status), pytest.raises(PrefectUnavailableError):
        launcher().launch(run)


def test_what_a_server_refuses_it_would_refuse_again():
    with answering(422), pytest.raises(HostRejectedError, match=NEW.id):
        launcher().launch(NEW)


def test_what_was_deleted_is_gone():
    with answering(404), pytest.raises(GoneError):
        ask("GET", "/flow_runs/{id}", id=RUN.flow_run_id)


@pytest.mark.parametrize("status", [500, 401])
def test_no_method_takes_a_server_in_trouble_for_an_answer(status: int):
    with answering(status):
        with pytest.raises(PrefectUnavailableError):
            launcher().show_status(RUN)
        with pytest.raises(PrefectUnavailableError):
            launcher().find_cancelled([str(RUN.flow_run_id)])


@pytest.mark.parametrize(
    ("status", "error"),
    [(502, PrefectFailedError), (503, PrefectFailedError), (429, PrefectUnavailableError)],
)
def test_nobody_waits_long_for_a_server_that_says_later_again_and_again(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
):
    monkeypatch.setattr(prefect_api, "_NO_MORE_TRIES_AFTER", 0.2)
    # As an executor has it, that has flows to keep.
    patient = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 100_000})
    with patient, answering(status, Retry_After="0") as asked:
        with pytest.raises(error) as told:
            ask("GET", "/flow_runs/{id}", id=RUN.flow_run_id)
        assert asked
    assert type(told.value) is error


def test_where_no_server_is_prefect_is_unavailable():
    nobody = "http://127.0.0.1:9/api"  # the port of `discard`
    with asking(nobody), pytest.raises(PrefectUnavailableError, match="does not answer"):
        launcher().show_status(RUN)


def test_certificates_are_read_for_the_first_question_alone(tmp_path: Path):
    place = tmp_path / "certificates.pem"
    shutil.copyfile(certifi.where(), place)
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(place)}), answering(200) as asked:
        ask("GET", "/health")
        place.unlink()
        ask("GET", "/health")
    assert len(asked) == 2


@pytest.mark.parametrize(("insecure", "answers"), [(False, False), (True, True)])
def test_who_is_not_trusted_is_no_prefect_but_where_the_settings_say_so(
    tmp_path: Path, insecure: bool, answers: bool
):
    outcome = nullcontext() if answers else pytest.raises(PrefectUnavailableError)
    settings = temporary_settings({PREFECT_API_TLS_INSECURE_SKIP_VERIFY: insecure})
    with settings, answering(200, a_certificate(tmp_path, "localhost")) as asked, outcome:
        ask("GET", "/health")
    assert bool(asked) is answers

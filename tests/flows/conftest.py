"""One local stack for all the tests here: its Prefect server takes a while to start.

It ends with the last of them, and takes no time from others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    temporary_settings,
)

from deployments.stack import read_state
from tests.factory import Factory
from tests.otlp import Collector, collector
from tests.prefect_server import FlowProcess, Prefect

SOON = {"PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5"}
"""Seconds until an event can be read from the server. They are five by themselves."""


@pytest.fixture(scope="package")
def traces() -> Iterator[Collector]:
    """Where the stack's traces go."""
    with collector() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def factory(tmp_path_factory: pytest.TempPathFactory, traces: Collector) -> Iterator[Factory]:
    """A factory whose stack is up, and traced; each test uses projects of its own."""
    running = Factory(tmp_path_factory.mktemp("factory"), job_types=("tests.work_types",))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (traces.environment | SOON).items():
            patch.setenv(name, value)
        running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def prefect(factory: Factory) -> Iterator[Prefect]:
    """The stack's server; while a module's tests run, this thread's Prefect talks to it."""
    state = read_state(factory.settings)
    assert state is not None
    # The executor's: each client reads all of the system's, and the server speaks plain HTTP.
    certificate = str(factory.settings.prefect_folder / "certificate.pem")
    with temporary_settings(
        {
            PREFECT_API_URL: state.api_url,
            PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False,
            PREFECT_API_SSL_CERT_FILE: certificate,
        }
    ):
        yield Prefect(state.api_url)


@pytest.fixture(scope="package")
def flow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the processes that execute flow runs without a factory."""
    return tmp_path_factory.mktemp("flows")


@pytest.fixture(scope="package")
def process(factory: Factory, flow_home: Path) -> Iterator[FlowProcess]:
    """One that stays: it takes a while to import Prefect."""
    state = read_state(factory.settings)
    assert state is not None
    process = FlowProcess(flow_home, state.api_url)
    yield process
    process.close()

"""A process is killed while a service has its request: the next one ends with one order."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.ports import RunStore
from tests.data_server import data_server
from tests.order_service import OrderService
from tests.requesting import ask_for, ledger, may_send_to, on_disk, outputs

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("moment", "knows_keys", "requests"),
    [
        ("after", True, 2),  # the key tells the service that it has done it
        pytest.param("after", False, 1, marks=pytest.mark.soak),  # the probe tells us
        pytest.param("before", True, 2, marks=pytest.mark.soak),
    ],
)
def test_a_request_that_was_on_its_way_is_one_effect(
    tmp_path: Path,
    sqlite_url: str,
    sqlite_store: RunStore,
    moment: str,
    knows_keys: bool,
    requests: int,
) -> None:
    factory = on_disk(tmp_path / "templates", sqlite_store)
    with data_server() as server:
        service = OrderService(server, knows_keys=knows_keys)
        may_send_to(factory, server.host)
        probe: dict[str, Any] = {} if knows_keys else {"probe": service.probe}
        run = ask_for(factory, url=service.url, method="POST", body="a cake", **probe)
        arguments = [sqlite_url, str(factory.folder), run.id, server.host]
        child = subprocess.Popen([sys.executable, "-m", "tests.request_worker", *arguments])

        def kill() -> None:
            child.kill()
            child.wait()

        setattr(service, moment, kill)
        assert child.wait(60) == -signal.SIGKILL
        assert ledger(factory, run).status is EffectStatus.INTENDED
        setattr(service, moment, lambda: None)
        factory.clock.pass_time(2 * factory.engine.lease)
        ended = factory.drive(factory.take_up(factory.run(run), f"flow-{run.id}"))
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    posts = [method for method, *_ in service.requests].count("POST")
    assert (posts, len(service.orders)) == (requests, 1)
    assert ledger(factory, run).status is EffectStatus.CONFIRMED
    assert outputs(factory, run)["found"] is not knows_keys

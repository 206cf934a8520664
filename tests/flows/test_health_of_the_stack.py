"""A stack that is up is healthy in every part, and tells Prometheus so."""

from __future__ import annotations

from contextlib import closing

from fastapi.testclient import TestClient

from api.app import create_app
from deployments.stack import read_state
from factory_runtime.bootstrap import open_runtime
from tests.api.numbers import numbers_in, of
from tests.factory import Factory, until


def test_every_part_of_a_stack_that_is_up_is_healthy(factory: Factory) -> None:
    state = read_state(factory.settings)
    assert state is not None
    runtime = open_runtime(factory.settings.model_copy(update={"prefect_api_url": state.api_url}))
    here = ("127.0.0.1", 4280)
    with closing(runtime.store):
        client = TestClient(create_app(runtime), base_url="http://127.0.0.1", client=here)
        until(lambda: client.get("/health").json()["status"] == "healthy", "all is well")
        assert client.get("/health").json()["details"] == {}
        numbers = numbers_in(client.get("/metrics").text)
    assert of(numbers, "factory_run_store_up") == 1
    assert of(numbers, "factory_executor_up") == 1

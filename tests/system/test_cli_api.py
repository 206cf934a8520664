"""`factory api`: where it listens, as how many, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import httpx
import psutil

from factory_runtime.client import FactoryClient, Target, calls
from factory_runtime.domain.access import Role
from factory_runtime.wire.health import HealthAnswer
from tests.factory import FACTORY, Factory, until
from tests.services import free_port


def started(factory: Factory, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FACTORY, "api", *words],
        env=factory.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").is_success
    except httpx.TransportError:
        return False


def test_it_serves_in_several_processes_that_end_with_the_one_that_keeps_them(tmp_path: Path):
    factory, port = Factory(tmp_path), free_port()
    url = f"http://127.0.0.1:{port}"
    process = started(factory, "--port", str(port), "--processes", "2")
    try:
        until(lambda: answers(url), "it answers")
        with FactoryClient(Target(url)) as client:
            assert Role.ADMIN in {one.role for one in client.send(calls.who_am_i()).grants}
            assert isinstance(client.send(calls.get_health()), HealthAnswer)
        taken = started(factory, "--port", str(port))
        said, _ = taken.communicate(timeout=60)
        assert taken.returncode == 2
        assert "Address already in use" in said
        everything = psutil.Process(process.pid).children(recursive=True)
        assert len(everything) >= 2
        process.kill()
        assert not psutil.wait_procs(everything, timeout=30)[1]
    finally:
        process.kill()
        process.communicate()


def test_it_listens_to_no_network_as_long_as_nobody_has_a_key(tmp_path: Path):
    factory, port = Factory(tmp_path), free_port()
    words = ("--host", "0.0.0.0", "--port", str(port))  # noqa: S104 - that is the point
    refused = started(factory, *words)
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "factory keys add" in said
    (key,) = re.findall(r"fk_\S+", factory.cli("keys", "add", "ada", "--role", "viewer").stdout)
    process = started(factory, *words)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), "it answers")
        assert httpx.get(f"{url}/api/v1/me").status_code == 401, "not even the machine's owner"
        with FactoryClient(Target(url, key)) as client:
            assert client.send(calls.who_am_i()).name == "ada"
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in said

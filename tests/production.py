"""Production as ``deployments/compose.yaml`` has it, in plain processes: its commands, its variables."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from deployments.executor import one_certificate
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.settings import Settings
from tests.factory import until
from tests.part_nursery import PartNursery
from tests.services import PostgresServer, die_with_the_tests, free_port, running_postgres
from tests.warm_worker import warm_processes

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "deployments" / "compose.yaml"
PATIENCE = 180.0


def services() -> dict[str, Any]:
    """The parts, as they are written down."""
    return yaml.safe_load(COMPOSE.read_text())["services"]


class Part:
    """A process of one service, in a session of its own."""

    def __init__(self, name: str, process: psutil.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self._process.is_running()

    @property
    def warm(self) -> set[int]:
        """Ids of a worker's warm processes."""
        return warm_processes(self._process)

    def kill(self) -> None:
        """SIGKILL, for this process alone."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it in good order, or what is left of it by force; by id."""
        if not self.lives:
            return
        below = self._process.children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(30)
        except psutil.TimeoutExpired:
            self.kill()
        for left in below:
            with suppress(psutil.NoSuchProcess):
                left.kill()


class Gateway:
    """One address for several servers, as a container's name is: who is gone is passed over."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._loop = asyncio.new_event_loop()
        self.port = free_port()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        )
        ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _pass_on(self, ours: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        with closing(answer):
            for port in self._in_turn():
                with suppress(OSError):
                    theirs, question = await asyncio.open_connection("127.0.0.1", port)
                    with closing(question):
                        both = [_pipe(ours, question), _pipe(theirs, answer)]
                        tasks = [asyncio.create_task(one) for one in both]
                        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                        for task in tasks:
                            task.cancel()
                    return

    def _in_turn(self) -> list[int]:
        self._ports.append(self._ports.pop(0))
        return list(self._ports)


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


class Production:
    """All of it, but for the dispatchers, which a test starts when it has asked for runs.

    Attributes:
        homes: the folder of each machine; nothing but the shared one is seen by two of them.
    """

    def __init__(self, folder: Path, postgres: PostgresServer, closing_stack: ExitStack) -> None:
        self._folder = folder
        self._postgres = postgres
        self._stack = closing_stack
        self._redis_port = free_port()
        self._services = services()
        self._certificate = str(one_certificate(folder))
        self._ports = [free_port(), free_port()]
        self._gateway = Gateway(self._ports)
        self._stack.callback(self._gateway.close)
        (folder / "nursery").mkdir()
        self._nursery = PartNursery(folder / "nursery")
        self._stack.callback(self._nursery.close)
        self.api_url = f"http://127.0.0.1:{self._gateway.port}/api"
        self.templates = folder / "templates"
        self.parts: list[Part] = []

    def begin(self) -> None:
        """Start what the others need, and wait until it answers."""
        self._start_redis()
        self._postgres.create("prefect")
        upgrade = self.start("prefect-database")
        self.until(lambda: not upgrade.lives, "Prefect's database is made")
        assert "upgraded!" in upgrade.log, upgrade.log
        for port in self._ports:
            self.start("prefect-api", port=port)
        self.start("prefect-services")
        for port in self._ports:
            self.until(lambda port=port: _answers(port), f"an API server answers at {port}")

    def start(self, service: str, port: int = 0, **more: str) -> Part:
        """Another process of a service, on a machine of its own."""
        name = f"{service}-{len(self.parts)}"
        home = self._folder / name
        home.mkdir()
        command = self._services[service]["command"]
        command = re.sub(r"--host \S+ --port 4200", f"--host 127.0.0.1 --port {port}", command)
        program, *words = shlex.split(command)
        if program == "python":
            option, program, *words = words
            assert option == "-m"
        log = home / "log"
        variables = self.variables(service, home) | more
        return self._keep(Part(name, self._nursery.bear(program, words, variables, log), log))

    def _keep(self, part: Part) -> Part:
        self.parts.append(part)
        self._stack.callback(part.close)
        return part

    def variables(self, service: str, home: Path) -> dict[str, str]:
        """What the service's process is given, with the addresses of here."""
        written: Mapping[str, str] = self._services[service]["environment"]
        ours = {name: self._here(value) for name, value in written.items()}
        if "FACTORY_HOME" in ours:
            ours |= {
                "FACTORY_HOME": str(home / "home"),
                "FACTORY_SHARED_FOLDER": str(self._folder / "shared"),
                "FACTORY_TEMPLATE_FOLDERS": f'["{self.templates}"]',
                "FACTORY_JOB_TYPES": '["tests.work_types"]',
                "FACTORY_LEASE_SECONDS": "5",  # a killed worker's runs go on soon
                "FACTORY_START_MINUTES": "0.5",
                "FACTORY_SECRET_KEYS": "[]",  # no secret is kept here
            }
        here = {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # takes seconds, and is not asked for
            # Each client that Prefect makes reads it; the servers speak plain HTTP.
            "PREFECT_API_SSL_CERT_FILE": self._certificate,
            "DO_NOT_TRACK": "1",
        }
        return os.environ | ours | here

    def runtime(self, cap: int) -> Runtime:
        """That of somebody who asks for runs, and looks at them."""
        home = self._folder / "desk"
        settings = Settings(
            home=home,
            shared_folder=self._folder / "shared",
            database_url=self._here(
                self._services["dispatcher"]["environment"]["FACTORY_DATABASE_URL"]
            ),
            template_folders=(self.templates,),
            job_types=("tests.work_types",),
            prefect_api_url=self.api_url,
            max_running_runs=cap,
        )
        runtime = open_runtime(settings)
        self._stack.callback(runtime.store.close)
        return runtime

    def until(self, true: Any, what: str, seconds: float = PATIENCE) -> None:
        try:
            # More often, the store has less time for the parts.
            until(true, what, seconds, every=0.4)
        except AssertionError as error:
            logs = "\n".join(f"--- {one.name}\n{one.log[-3000:]}" for one in self.parts)
            raise AssertionError(f"{error}\n{logs}") from None

    def _start_redis(self) -> None:
        words = ["--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", ""]
        place = self._folder / "redis.log"
        with place.open("ab") as log:
            process = psutil.Popen(
                ["redis-server", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_the_tests,
            )
        part = self._keep(Part("redis", process, place))
        self.until(lambda: "eady to accept connections" in part.log, "Redis answers")

    def _here(self, value: str) -> str:
        value = re.sub(r"//\w+:\$\{\w+:\?\}@postgres:5432/(\w+)", self._database, value)
        value = value.replace("redis:6379", f"127.0.0.1:{self._redis_port}")
        return value.replace("prefect-api:4200", f"127.0.0.1:{self._gateway.port}")

    def _database(self, found: re.Match[str]) -> str:
        name = "factory_template" if found[1] == "factory" else found[1]
        return f"//postgres@/{name}?host={self._postgres.folder}"


@contextmanager
def production(folder: Path) -> Generator[Production]:
    """Started, and ended again."""
    with running_postgres(contrib=True) as postgres, ExitStack() as stack:
        made = Production(folder, postgres, stack)
        made.begin()
        yield made


def _answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5).is_success
    return False

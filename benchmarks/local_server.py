"""A Prefect server and a runtime of their own for one benchmark, in a folder that is thrown away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from deployments.executor import PrefectServer, set_prefect
from factory_runtime.settings import Settings


@contextmanager
def local_server() -> Generator[Settings]:
    """Settings of a fresh home whose Prefect server answers. Import Prefect only inside."""
    with tempfile.TemporaryDirectory(prefix="factory-bench-") as folder:
        settings = Settings(home=Path(folder))
        settings.stack_folder.mkdir(parents=True)
        server = PrefectServer(settings)
        set_prefect(settings, server.api_url)
        server.start()
        try:
            asyncio.run(server.wait_until_ready())
            yield settings
        finally:
            server.stop()

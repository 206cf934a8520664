"""A Redis of our own, on a socket in a folder of ours: nobody else can answer there."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.factory import until
from tests.services import die_with_the_tests


@contextmanager
def running_redis() -> Generator[str]:
    """Its URL; Debian's program, which keeps nothing."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "redis"
        words = ["redis-server", "--port", "0", "--unixsocket", str(place), "--save", ""]
        process = subprocess.Popen(
            [*words, "--dir", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_the_tests,
        )
        try:
            until(place.exists, "Redis answers")
            assert process.poll() is None
            yield f"redis+unix://{place}"
        finally:
            process.terminate()
            process.wait(30)

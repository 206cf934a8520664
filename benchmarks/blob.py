"""Artifact storage on Azure Blob beside the plain ``azure-storage-blob`` client, in turns.

Both talk to one Azurite on the loopback, four requests at once. Ours is given a stream, whose digest
nobody knows yet; the plain client is given the same bytes and a name. What is downloaded goes
nowhere. Azurite takes most of the time: it keeps what it has in files.

Memory is that of a process which stores a body and looks at its digest, all in all.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from azure.storage.blob import BlobServiceClient, ContainerClient

from benchmarks.ratio import Ratio
from factory_runtime.artifacts.blob import BlobArtifactStorage
from factory_runtime.artifacts.blob_place import BlobPlace
from tests.azurite import running_azurite
from tests.blobs import a_place

MIB = 1024 * 1024
SIZE = 128 * MIB
ROUNDS = 5
AT_ONCE = 4
TARGET = 0.8
SMALL_MIB, LARGE_MIB = 64, 1024
MOST_MEMORY = 1.3
_CHUNK = 256 * 1024


@dataclass
class _Sides:
    """Both ways there and back, and how long each took, in seconds."""

    storage: BlobArtifactStorage
    plain: ContainerClient
    nowhere: BinaryIO
    times: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def take_turns(self, body: bytes, name: str) -> None:
        digest = self._timed("upload", lambda: self.storage.put("bench", io.BytesIO(body)).digest)
        self._timed("plain upload", lambda: self._plain_upload(name, body))
        self._timed("download", lambda: self._download(digest))
        self._timed("plain download", lambda: self._plain_download(name))
        self.storage.delete("bench", digest)
        self.plain.delete_blob(name)

    def _timed(self, name: str, work: Callable[[], str]) -> str:
        started = time.perf_counter()
        found = work()
        self.times.setdefault(name, []).append(time.perf_counter() - started)
        return found

    def _plain_upload(self, name: str, body: bytes) -> str:
        self.plain.upload_blob(name, io.BytesIO(body), max_concurrency=AT_ONCE)
        return name

    def _plain_download(self, name: str) -> str:
        self.plain.download_blob(name, max_concurrency=AT_ONCE).readinto(self.nowhere)
        return name

    def _download(self, digest: str) -> str:
        with self.storage.open("bench", digest) as body:
            while chunk := body.read(_CHUNK):
                self.nowhere.write(chunk)
        return digest


def main() -> tuple[Ratio, ...]:
    """Print MiB a second of each way, and how much memory ours takes."""
    with running_azurite(keeps=True) as azurite:
        place = a_place(azurite)
        times = _measure(place)
        small, large = (_memory_mib(place, size) for size in (SMALL_MIB, LARGE_MIB))
    rates = {name: SIZE / MIB / statistics.median(found) for name, found in times.items()}
    print(f"a body of {SIZE // MIB} MiB, {ROUNDS} rounds, median MiB a second")
    for name, rate in rates.items():
        print(f"  {name:<16}{rate:8.0f}")
    print(f"memory: {small:.0f} MiB for {SMALL_MIB} MiB, {large:.0f} MiB for {LARGE_MIB} MiB")
    ratios = (
        *(
            Ratio(
                f"{way} / plain client", rates[way] / rates[f"plain {way}"], TARGET, at_least=True
            )
            for way in ("upload", "download")
        ),
        Ratio(f"memory for {LARGE_MIB} MiB / for {SMALL_MIB} MiB", large / small, MOST_MEMORY),
    )
    for ratio in ratios:
        print(ratio)
    return ratios


def _measure(place: BlobPlace) -> dict[str, list[float]]:
    service = BlobServiceClient.from_connection_string(str(place.connection_string))
    with ExitStack() as stack:
        stack.enter_context(service)
        nowhere = stack.enter_context(Path(os.devnull).open("wb"))
        plain = service.get_container_client("plain")
        plain.create_container()
        sides = _Sides(BlobArtifactStorage(lambda: place), plain, nowhere)
        for round_ in range(ROUNDS + 1):
            sides.take_turns(os.urandom(SIZE), str(round_))
    return {name: found[1:] for name, found in sides.times.items()}  # the first one warms up


def _memory_mib(place: BlobPlace, mebibytes: int) -> float:
    """At most, of a process that stores so many zeros and reads them."""
    code = "import sys, tests.blobs as t; t.put_zeros(*sys.argv[1:])"
    told = (f"{place.prefix}{mebibytes}", str(place.connection_string), str(mebibytes))
    done = subprocess.run(
        [sys.executable, "-c", code, *told], capture_output=True, check=True, text=True
    )
    return int(done.stdout) / 1024


if __name__ == "__main__":
    main()

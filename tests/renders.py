"""A box to render in, and the processes of renders that are under way."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.domain.tree import TreeFile, pack_folder, read_tree
from factory_runtime.jobs.render.box import Rendered, render
from factory_runtime.jobs.render.limits import RenderLimits
from tests.factory import until

MIB = 1024 * 1024
LIMITS = RenderLimits(
    wall=timedelta(seconds=60),
    cpu=timedelta(seconds=20),
    memory_bytes=512 * MIB,
    size_bytes=8 * MIB,
    files=200,
    file_bytes=4 * MIB,
)
Source = Mapping[str, str | bytes]


@dataclass
class Box:
    """A storage, a scratch folder, and an outside that nothing may touch."""

    root: Path
    limits: RenderLimits = LIMITS
    storage: LocalArtifactStorage = field(init=False)
    sources: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self.storage = LocalArtifactStorage(self.root / "artifacts")
        self.scratch.mkdir()
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text("a secret")

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def add(self, name: str, files: Source, links: Mapping[str, str] | None = None) -> str:
        """Pack a source as accepting a run does; scripts in it are executable."""
        with io.BytesIO() as body:
            folder = self.root / f"source-{len(list(self.root.iterdir()))}"
            folder.mkdir()
            for path, content in files.items():
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content if isinstance(content, bytes) else content.encode())
                place.chmod(0o755 if ".sh" in path else 0o644)
            for path, target in (links or {}).items():
                (folder / path).symlink_to(target)
            digest = pack_folder(folder, body).digest
            self.put(name, body.getvalue())
        return digest

    def put(self, name: str, tar: bytes) -> None:
        self.sources[name] = self.storage.put("acme", tar).digest

    def render(
        self,
        *layers: tuple[str, Mapping[str, Any]],
        cancelled: Callable[[], bool] = lambda: False,
        tenant: str = "acme",
    ) -> Rendered:
        order = RenderOrder(tuple(Layer(name, data) for name, data in layers))
        return render(
            order,
            self.sources,
            self.storage,
            tenant,
            self.limits,
            cancelled=cancelled,
            scratch=self.scratch,
        )

    def files(
        self,
        files: Source,
        data: Mapping[str, Any] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> dict[str, TreeFile]:
        """Render one source; what came out, by path."""
        self.add("files/base", files, links)
        return self.tree(self.render(("files/base", data or {})))

    def refusal(self, files: Source, data: Mapping[str, Any] | None = None) -> FactoryError:
        """Render one source that must not be rendered; why it was not."""
        with pytest.raises(FactoryError) as caught:
            self.files(files, data)
        return caught.value

    def tree(self, rendered: Rendered) -> dict[str, TreeFile]:
        with self.storage.open("acme", rendered.reference.digest) as body:
            return {file.path: file for file in read_tree(body)}


@contextmanager
def a_box(tmp_path: Path) -> Generator[Box]:
    """A box of which, whatever a test does, nothing may be left: no process, file or message."""
    made = Box(tmp_path)
    yield made
    assert list(made.scratch.iterdir()) == []
    assert [path.name for path in made.outside.iterdir()] == ["secret.txt"]
    assert (made.outside / "secret.txt").read_text() == "a secret"
    # What waits for a child has told of its end a moment before its own.
    until(lambda: not renders_below(psutil.Process()), "nothing is left of a render", 5)
    assert not [each for each in psutil.process_iter() if _is_in(each, made.scratch)]


ENDLESS: Source = {
    "begun.txt": "",
    "z.jinja": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
}


def _is_in(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return process.cwd().startswith(str(folder.resolve()))
    return False


def child_of(scratch: Path, *, begun: bool = True) -> psutil.Process | None:
    """The child of a render below this scratch folder; ``begun`` waits until it is busy with it."""
    for staging in scratch.iterdir():
        if begun and not (staging / "out/begun.txt").exists():
            continue
        for process in psutil.process_iter():
            if _is_in(process, staging):
                return process
    return None


SERVER = "factory_runtime.jobs.render.fork_server"


def servers_below(process: psutil.Process) -> list[psutil.Process]:
    """Fork servers that it, or what it has started, began."""
    with suppress(psutil.NoSuchProcess):
        below = process.children(recursive=True)
        return [one for one in below if _is_server(one) and not _is_server(one.parent())]
    return []


def _is_server(process: psutil.Process | None) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process is not None and SERVER in process.cmdline()
    return False


def renders_below(process: psutil.Process) -> list[psutil.Process]:
    """Children that render, and those that wait for them."""
    found: list[psutil.Process] = []
    for server in servers_below(process):
        with suppress(psutil.NoSuchProcess):
            found += server.children(recursive=True)
    return found

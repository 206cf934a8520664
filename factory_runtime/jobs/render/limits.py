"""What a render may use, and what to say when it wants more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from factory_runtime.domain.errors import RenderLimitError
from factory_runtime.jobs.render.request import MAX_DEPTH, LimitName

if TYPE_CHECKING:
    from factory_runtime.settings import Settings

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """The most that one render, all its layers together, may take and leave.

    Attributes:
        wall: from start to end.
        cpu: processor time; whole seconds, rounded up.
        memory_bytes: address space of the child; the interpreter and Copier take about 60 MiB.
        size_bytes: all files that it leaves together; each source may be as large.
        files: files and folders that it leaves.
        file_bytes: the largest file.
    """

    wall: timedelta = timedelta(seconds=60)
    cpu: timedelta = timedelta(seconds=30)
    memory_bytes: int = 1024 * _MIB
    size_bytes: int = 256 * _MIB
    files: int = 20_000
    file_bytes: int = 256 * _MIB

    @classmethod
    def from_settings(cls, settings: Settings) -> RenderLimits:
        size = settings.render_size_mib * _MIB
        return cls(
            wall=timedelta(seconds=settings.render_seconds),
            cpu=timedelta(seconds=settings.render_cpu_seconds),
            memory_bytes=settings.render_memory_mib * _MIB,
            size_bytes=size,
            files=settings.render_files,
            file_bytes=size,
        )

    def exceeded(self, limit: LimitName, place: str = "") -> RenderLimitError:
        """The error for a render that went over this limit, naming it and the setting behind it."""
        most, setting = _WORDS[limit]
        message = f"the render went over its limit of {most.format(self)}"
        return RenderLimitError(
            f"{place}: {message}" if place else message,
            hint=f"let the source do less, or raise {setting}" if setting else "nest less deeply",
        )


_WORDS: Mapping[LimitName, tuple[str, str | None]] = {
    "wall": ("{0.wall} of wall time", "FACTORY_RENDER_SECONDS"),
    "cpu": ("{0.cpu} of CPU time", "FACTORY_RENDER_CPU_SECONDS"),
    "memory": ("{0.memory_bytes} bytes of memory", "FACTORY_RENDER_MEMORY_MIB"),
    "size": ("{0.size_bytes} bytes of files", "FACTORY_RENDER_SIZE_MIB"),
    "file": ("{0.file_bytes} bytes in one file", "FACTORY_RENDER_SIZE_MIB"),
    "files": ("{0.files} files and folders", "FACTORY_RENDER_FILES"),
    "depth": (f"{MAX_DEPTH} folders inside each other", None),
}

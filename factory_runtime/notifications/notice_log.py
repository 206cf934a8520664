"""The log of notices: where the policy names no other target, nothing goes unsaid."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from factory_runtime.domain.errors import HostBusyError
from factory_runtime.domain.notice import Notice
from factory_runtime.notifications.text import one_line, plain

_LOG = logging.getLogger("factory.notices")


class NoticeLog:
    """One line in this process's log, and the whole notice in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, notice: Notice) -> None:
        """Append it; what several processes write does not get mixed up.

        Raises:
            HostBusyError: the file cannot be written.
        """
        title = f"{notice.severity.value} {notice.kind.value} {notice.tenant_id}: {notice.title}"
        lines = [f"{notice.at.isoformat(timespec='seconds')} {one_line(title)}"]
        lines += [f"    {line}".rstrip() for line in plain(notice.body).splitlines()]
        lines += [f"    ({one_line(notice.key)})", ""]
        try:
            self._append("\n".join(lines))
        except OSError as exc:
            raise HostBusyError(f"{self._file.name} cannot be written: {exc.strerror}") from exc
        _LOG.info("%s", one_line(title))

    def _append(self, text: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        place = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(place, text.encode())  # in one piece
        finally:
            os.close(place)

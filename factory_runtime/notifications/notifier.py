"""Sends notices: to what Apprise knows an address for, and to a log of our own.

An address may hold a secret. It goes to the child that sends over a pipe and nowhere else: no
error, no log and no argument list has it, so what is said of a failure is of our own wording.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from factory_runtime.domain.errors import HostBusyError, InputError
from factory_runtime.domain.notice import Notice
from factory_runtime.domain.policy import BLOCK
from factory_runtime.notifications.notice_log import NoticeLog
from factory_runtime.notifications.sending import ANSWERED, NO_ADDRESS, SENT
from factory_runtime.notifications.text import one_line, plain
from factory_runtime.ports import AddressBook

LOG = ("log:", "log://")
"""The address of our own log, and how people who know Apprise write it."""

PATIENCE = timedelta(seconds=15)
"""How long a target may take, whatever it does."""

_GRACE = 2.0
"""Seconds beyond that for the child to begin and to end; it stops itself in time."""

_TITLE = 250
_BODY = 10_000
"""Characters; services refuse what is longer, or cut it themselves."""

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_INHERITED = re.compile(
    r"PATH|HOME|LANG|LC_.*|TZ|TMPDIR|(https?|no|all)_proxy|SSL_CERT_.*|REQUESTS_CA_BUNDLE|LD_.*",
    re.IGNORECASE,
)


class AppriseNotifier:
    """Implements ports.Notifier. Safe to use from many threads.

    Each notice is sent by a child process of its own. A thread that waits for a name, or for a
    server that gives one byte now and then, cannot be ended from outside, and would be one thread
    less for every hanging target; a process can.
    """

    def __init__(
        self,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        patience: timedelta = PATIENCE,
        addresses: AddressBook | None = None,
    ) -> None:
        """Variables in addresses are read from this environment: from the process's own if None.

        ``addresses`` keeps what ``block:NAME`` stands for; without it there are none.
        """
        self._log = NoticeLog(log_file)
        self._environment = os.environ if environment is None else environment
        self._patience = patience.total_seconds()
        self._addresses = addresses

    def send(self, to: str, notice: Notice) -> None:
        """Send it, in 15 s or not at all. ``$NAME`` in the address is read from the environment.

        Raises:
            HostBusyError: it was not taken, or nobody answered in time.
            InputError: the address makes no sense, or there is no such variable or block.
        """
        address = self._kept(to) if to.startswith(BLOCK) else self._filled(to)
        if address in LOG:
            self._log.write(notice)
        else:
            self._send_outside(address, notice)

    def _kept(self, to: str) -> str:
        if self._addresses is None:
            raise InputError(f"no Prefect server keeps {to} for this process")
        return self._addresses.address_of(to.removeprefix(BLOCK)).strip()

    def _filled(self, to: str) -> str:
        missing = [name for name in _VARIABLE.findall(to) if name not in self._environment]
        if missing:
            raise InputError(f"the environment has no {', '.join(missing)}")
        return _VARIABLE.sub(lambda found: self._environment[found[1]], to).strip()

    def _send_outside(self, address: str, notice: Notice) -> None:
        order = {
            "to": address,
            "title": one_line(notice.title)[:_TITLE],
            "body": f"{plain(notice.body)[:_BODY]}\n\n({one_line(notice.key)})".strip(),
            "severity": notice.severity.value,
            "key": one_line(notice.key).encode("ascii", "replace").decode(),  # it is a header
            "extras": _extras(notice),
            "seconds": self._patience,
        }
        try:
            code, said = _said_by_child(order, self._patience + _GRACE)
        except OSError as exc:
            raise HostBusyError(f"nothing can be sent now: {exc.strerror}") from exc
        if code > 0:
            raise HostBusyError(f"the process that sends ended with {code}")
        _raise_unless_sent(said)


def _extras(notice: Notice) -> dict[str, Any]:
    """What a machine at the other end can read, where the service has room for it."""
    facts = {k: v for k, v in notice.facts.items() if isinstance(v, str | int | float | bool)}
    ours = {
        "key": notice.key,
        "kind": notice.kind.value,
        "severity": notice.severity.value,
        "tenant": notice.tenant_id,
        "run": notice.run_id or "",
        "at": notice.at.isoformat(),
    }
    return {**facts, **ours}


def _said_by_child(order: Mapping[str, Any], seconds: float) -> tuple[int, bytes]:
    """How the child ended, below 0 by a signal, and what it said; nothing where it took too long."""
    with subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "factory_runtime.notifications.sending"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if _INHERITED.fullmatch(k)},
        start_new_session=True,
    ) as child:
        try:
            said, _ = child.communicate(json.dumps(order).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            said = b""
        finally:
            _end(child)
        return child.wait(), said


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill it, and what it may have started, where it has not ended."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _raise_unless_sent(said: bytes) -> None:
    """Make of the child's last word what the port promises."""
    words = said.decode("ascii", "replace").split()
    match words:
        case [*_, word] if word == SENT:
            return
        case [*_, word] if word == NO_ADDRESS:
            raise InputError("the address makes no sense", hint="look at it in the policy")
        case [*_, word, status] if word == ANSWERED:
            if status.isdecimal():
                raise HostBusyError(f"it answered {status}")
            raise HostBusyError("it did not take the notice, or cannot be reached")
        case _:
            raise HostBusyError("it did not answer in time")

"""A process that is killed once a notice was sent, and before it could note that."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.services.drain_outbox import Drained
from factory_runtime.services.messages import leave_notice
from factory_runtime.settings import Settings
from tests.builders import NOON
from tests.receivers import a_notice, web_receiver

pytestmark = pytest.mark.slow

DOOMED = """
import signal, os
from datetime import timedelta
from factory_runtime.bootstrap import open_runtime
from factory_runtime.notifications.notifier import AppriseNotifier
send = AppriseNotifier.send

def send_and_die(self, to, notice):
    send(self, to, notice)
    os.kill(os.getpid(), signal.SIGKILL)

AppriseNotifier.send = send_and_die
open_runtime().tell(timedelta(seconds=60))
"""


def test_killed_between_sending_and_noting_another_sends_it_again_with_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "home"))
    runtime = open_runtime(Settings())
    with web_receiver() as web:
        document = f"notify: [{{name: web, to: '{web.address()}'}}]\n"
        with runtime.store.begin("local") as tx:
            tx.save_policy(PolicyRecord("local", 1, document, "d", NOON, "ada"))
            leave_notice(tx, a_notice(tenant_id="local"))
        doomed = subprocess.run([sys.executable, "-c", DOOMED], timeout=120)
        assert doomed.returncode < 0
        assert web.keys == ["dead-letter:abc"]
        # The dead are not waited for until what they hold runs out.
        assert runtime.tell(timedelta(seconds=60)) == Drained(done=1)
        assert web.keys == ["dead-letter:abc"] * 2
        assert runtime.tell(timedelta(seconds=60)) == Drained()
    runtime.notices.close()
    runtime.store.close()

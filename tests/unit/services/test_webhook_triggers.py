"""Triggers of templates are read anew where a template may say something else."""

from __future__ import annotations

import os
import time

from factory_runtime.services.webhook_triggers import TriggerBook
from tests.builders import TENANT
from tests.small_factory import SmallFactory, steps


def test_an_edit_that_keeps_size_and_time_of_a_file_is_seen(factory: SmallFactory):
    def write(source: str) -> None:
        trigger = f"triggers: {{webhook: {{source: {source}, map: {{}}}}}}\n"
        file = factory.template(steps("a:") + trigger) / "template.yaml"
        os.utime(file, ns=(0, 0))  # as an image whose files all have one time

    book = TriggerBook(factory.catalog)
    for source in ("github", "gitlab"):
        write(source)
        found = {trigger.source for name, trigger in book.triggers(TENANT) if name == "demo"}
        assert found == {source}
        time.sleep(0.03)  # file systems tell time by the tick

"""Copier without what it asks people with: any release of it can be imported so."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITH_ONE_LESS = """
import sys
from factory_runtime.jobs.render import unasked
for name in {names!r}:
    del unasked._STAND_INS["questionary"][name]
unasked.import_copier()
import copier, questionary
print(questionary.__name__, hasattr(questionary, "text"), "prompt_toolkit" in sys.modules)
"""


@pytest.mark.parametrize(("names", "is_real"), [((), False), (("unsafe_prompt",), True)])
def test_a_copier_that_imports_more_gets_the_real_thing(names: tuple[str, ...], is_real: bool):
    done = subprocess.run(
        [sys.executable, "-c", WITH_ONE_LESS.format(names=names)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["questionary", str(is_real), "True"], done.stderr

"""Copier without what it asks people and runs git with: any release of it can be imported so."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITH_ONE_LESS = """
import sys
from factory_runtime.jobs.render import unasked
for module, name in {missing!r}:
    del unasked._STAND_INS[module][name]
unasked.import_copier()
import copier
print(*(name for name in {libraries!r} if hasattr(sys.modules[name], "__file__")))
"""
LIBRARIES = ["questionary", "prompt_toolkit", "pygments", "plumbum", "dunamai"]


@pytest.mark.parametrize(
    ("missing", "real"),
    [
        ([], []),
        ([("questionary", "unsafe_prompt")], LIBRARIES),
        ([("plumbum", "colors")], LIBRARIES),
    ],
)
def test_a_copier_that_imports_more_gets_the_real_thing(
    missing: list[tuple[str, str]], real: list[str]
):
    script = WITH_ONE_LESS.format(missing=missing, libraries=LIBRARIES)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, real), done.stderr

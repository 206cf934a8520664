"""What the README tells people to type works, in the order it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.factory import Factory
from tests.prefect_database import place_database

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.parametrize(
    "made_before", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["tables", "no-tables"]
)
def test_the_tour_can_be_typed(tmp_path: Path, made_before: bool):
    """``made_before`` spares Prefect's server its own migrations."""
    factory = Factory(tmp_path, warm_processes=0)  # nothing here is started in Prefect
    if made_before:
        place_database(factory.settings.prefect_folder)
    typed = commands()
    assert len(typed) > 10
    try:
        for command in typed:
            program, *words = shlex.split(command)
            assert program == "factory"
            done = factory.cli(*words)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    finally:
        factory.cli("down")


def test_every_dependency_stands_in_the_table():
    import tomllib

    project = tomllib.loads((README.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    table = "\n".join(line for line in README.read_text().splitlines() if line.startswith("|"))
    for requirement in wanted:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert re.search(rf"\b{re.escape(name)}\b", table), f"{name} has no line in the README"

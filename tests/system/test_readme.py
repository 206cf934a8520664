"""What the README tells people to type works, in the order it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factory import Factory, git
from tests.prefect_database import place_database

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"


def commands() -> list[str]:
    """Each command that begins with ``factory``; and what is typed into a shell, as a whole."""
    blocks = re.findall(r"^```(sh|bash)\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    typed: list[str] = []
    for kind, block in blocks:
        typed += [block] if kind == "bash" else [line for line in block.splitlines() if line]
    return typed


def in_a_shell(factory: Factory, block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The block, with the API where this stack has it; programs are those of the environment."""
    port = (factory.settings.stack_folder / "api-port").read_text()
    environment = factory.environment()
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace(":4280", f":{port}")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "made_before", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["tables", "no-tables"]
)
def test_the_tour_can_be_typed(tmp_path: Path, made_before: bool):
    """``made_before`` spares Prefect's server its own migrations."""
    # Nothing here is started in Prefect. What is shipped remembers by its own model.
    factory = Factory(tmp_path, warm_processes=0, embedder="minilm")
    if made_before:
        place_database(factory.settings.prefect_folder)
    typed = commands()
    assert len(typed) > 10
    try:
        for command in typed:
            if "\n" in command:
                done = in_a_shell(factory, command, tmp_path)
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                continue
            program, *words = shlex.split(command)
            assert program == "factory"
            done = factory.cli(*words)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        log = git("log", "--format=%(trailers:key=Factory-Step,valueonly)", cwd=tmp_path / "stock")
        assert "generate-repo" in log, "the webhook came to a repository"
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

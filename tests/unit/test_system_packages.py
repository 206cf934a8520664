"""`make system-packages`: looks before it installs, and says what it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WANTED = "SYSTEM_PACKAGES=sh:shell no-such-program:some-package no-other:other-package"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with all that can be started, by somebody who is root."""
    for name in ("bash", "sh", "make", "tr", "env"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    write_program(tmp_path / "id", "echo 0")
    return tmp_path


def write_program(place: Path, does: str) -> None:
    place.write_text(f"#!/bin/bash\n{does}\n")
    place.chmod(0o700)


def make(programs: Path, wanted: str) -> subprocess.CompletedProcess[str]:
    words = ["make", "--no-print-directory", "system-packages", wanted]
    variables = os.environ | {"PATH": str(programs), "MAKEFLAGS": ""}
    return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True)


def asked(programs: Path) -> list[str]:
    log = programs / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_what_is_there_is_not_installed(programs: Path) -> None:
    write_program(programs / "apt-get", f'echo "$@" >> {programs}/log')
    done = make(programs, "SYSTEM_PACKAGES=sh:shell")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert asked(programs) == []


def test_what_is_missing_is_installed_at_once(programs: Path) -> None:
    write_program(programs / "apt-get", f'echo "$@" >> {programs}/log')
    done = make(programs, WANTED)
    assert (done.returncode, done.stderr) == (0, "")
    (command,) = asked(programs)
    assert command.startswith("install ")
    assert command.endswith(" --no-install-recommends some-package other-package")


def test_old_lists_of_packages_are_renewed(programs: Path) -> None:
    write_program(
        programs / "apt-get",
        f'echo "$1" >> {programs}/log; [ "$1" = update ] || grep -q update {programs}/log',
    )
    (programs / "grep").symlink_to(str(shutil.which("grep")))
    done = make(programs, WANTED)
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(programs) == ["install", "update", "install"]


@pytest.mark.parametrize("apt", [None, "exit 100"])
def test_what_cannot_be_installed_is_told_and_stops_nothing(
    programs: Path, apt: str | None
) -> None:
    if apt is not None:
        write_program(programs / "apt-get", apt)
    done = make(programs, WANTED)
    assert done.returncode == 0
    assert "they need some-package other-package" in done.stderr

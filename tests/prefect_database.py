"""An empty database of Prefect's, made once: the server's own migrations take seven seconds."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

_KEPT = Path(__file__).parents[1] / ".pytest_cache" / "prefect"


def place_database(prefect_folder: Path) -> None:
    """Put it where a server of this folder looks for it, unless one is there already."""
    place = prefect_folder / "prefect.db"
    if not place.exists():
        prefect_folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_made_once(), place)


def _made_once() -> Path:
    made = _KEPT / f"{version('prefect')}.db"
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make().replace(made)
    return made


def _make() -> Path:
    """By Prefect's own command; its last connection folds the journal into the file."""
    folder = _KEPT / "making"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ours = {"PREFECT_HOME": str(folder), "PREFECT_PROFILES_PATH": str(folder / "profiles.toml")}
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    subprocess.run(command, env=os.environ | ours, check=True, capture_output=True, timeout=120)
    assert not (folder / "prefect.db-wal").exists(), "the journal is still beside the database"
    return folder / "prefect.db"

"""SQLite's statements that nobody holds any more, in the server that we keep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BOTH = """
import gc, sqlite3, sys, threading, time
from deployments.server import collect_garbage_beside

def connect(patience):
    return sqlite3.connect(
        sys.argv[1], timeout=patience, isolation_level=None, check_same_thread=False
    )

holder, waiter = connect(0), connect(4)
holder.execute("PRAGMA journal_mode = WAL")
holder.execute("CREATE TABLE t (a)")
gc.disable()
if sys.argv[2] == "beside":
    collect_garbage_beside(0.01)

class Left:
    pass

left = Left()
left.cursor = waiter.execute("SELECT 1 UNION SELECT 2")  # a row of it is not read yet
left.itself = left
holder.execute("BEGIN IMMEDIATE")

def write():
    try:
        waiter.execute("INSERT INTO t VALUES (1)")
    except sqlite3.OperationalError as error:
        print(error)
    else:
        print("written")

thread = threading.Thread(target=write)
thread.start()
time.sleep(0.5)  # it waits in SQLite for the holder by now
del left
if sys.argv[2] == "inline":
    gc.collect()  # as would happen to whoever allocates
holder.execute("COMMIT")
thread.join()
"""


def said(folder: Path, how: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BOTH, str(folder / f"{how}.db"), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_whoever_holds_the_lock_does_not_wait_for_a_collected_statement_of_who_waits(
    tmp_path: Path,
):
    assert said(tmp_path, "inline") == "database is locked"  # what it is to be kept from
    assert said(tmp_path, "beside") == "written"


def test_what_is_there_from_the_start_is_looked_over_but_once(tmp_path: Path):
    looked = (
        "import gc, time; from deployments.server import collect_garbage_beside as collect\n"
        "collect(0.001)\n"
        "while not gc.get_freeze_count(): time.sleep(0.01)"
    )
    subprocess.run([sys.executable, "-c", looked], cwd=tmp_path, check=True, timeout=60)

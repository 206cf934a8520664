"""The audit hook of the render's child, tried in a process of its own: it cannot be taken off."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Each line is tried on its own; `box` may be written, `shown` may be read, `outside` neither.
ALLOWED = """
(box / "new.txt").write_text("x")
(box / "folder").mkdir()
os.symlink("anywhere", box / "link")
(box / "new.txt").chmod(0o755)
(box / "new.txt").rename(box / "renamed.txt")
(box / "renamed.txt").unlink()
(shown / "a.txt").read_text()
list(os.scandir(shown))
import wave
"""
REFUSED = """
os.system("true")
os.fork()
os.execv("/bin/true", ["true"])
os.posix_spawn("/bin/true", ["true"], {})
os.kill(os.getppid(), 0)
os.putenv("A", "b")
subprocess.run(["true"])
socket.socket()
ctypes.CDLL(None)
(outside / "secret.txt").read_text()
os.open(outside / "secret.txt", os.O_RDONLY)
(box / "way" / "secret.txt").read_text()
(box / "secret").read_text()
list(os.scandir(outside))
os.listdir(outside)
os.listdir()
list(outside.glob("*"))
(outside / "new.txt").write_text("x")
(shown / "new.txt").write_text("x")
(shown / "a.txt").unlink()
(box / "way" / "new.txt").write_text("x")
(outside / "folder").mkdir()
(outside / "secret.txt").unlink()
(outside / "secret.txt").chmod(0o777)
(outside / "secret.txt").rename(box / "stolen.txt")
os.link(outside / "secret.txt", box / "stolen.txt")
os.symlink("x", outside / "link")
os.truncate(outside / "secret.txt", 0)
shutil.rmtree(outside)
shutil.copy(outside / "secret.txt", box)
(box.parent / (box.name + "-beside.txt")).write_text("x")
"""
_CHILD = """
import ctypes, json, os, shutil, socket, subprocess, sys
from pathlib import Path
from factory_runtime.jobs.render.guard import EscapeError, Guard

box, shown, outside = map(Path, sys.argv[1:])
lines = json.load(sys.stdin)
guard = Guard(reads=[shown], writes=[box])
guard.install()
done = {}
for line in lines:
    try:
        exec(line)
        done[line] = "done"
    except EscapeError as error:
        done[line] = "refused"
    except Exception as error:
        done[line] = repr(error)
print(json.dumps({"done": done, "first": str(guard.escape)}))
"""


def try_all(tmp_path: Path, lines: Sequence[str]) -> tuple[dict[str, str], str]:
    """What became of each line, and what the guard remembers as the first refusal."""
    box, shown, outside = (tmp_path / name for name in ("box", "shown", "outside"))
    for folder in (box, shown, outside):
        folder.mkdir()
    (shown / "a.txt").write_text("a")
    (outside / "secret.txt").write_text("a secret")
    (box / "way").symlink_to(outside)
    (box / "secret").symlink_to("../outside/secret.txt")
    answer = subprocess.run(
        [sys.executable, "-c", _CHILD, str(box), str(shown), str(outside)],
        input=json.dumps(list(lines)),
        capture_output=True,
        text=True,
        check=True,
        cwd=outside,
    )
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == "a secret"
    found = json.loads(answer.stdout)
    return found["done"], found["first"]


def test_nothing_reaches_out_of_the_box(tmp_path: Path) -> None:
    lines = REFUSED.strip().splitlines()

    done, first = try_all(tmp_path, lines)

    assert done == dict.fromkeys(lines, "refused")
    assert first == "os.system is not allowed in a render"
    assert not (tmp_path / "box" / "stolen.txt").exists()


def test_inside_the_box_everything_a_render_needs_works(tmp_path: Path) -> None:
    lines = ALLOWED.strip().splitlines()

    done, first = try_all(tmp_path, lines)

    assert done == dict.fromkeys(lines, "done")
    assert first == "None"

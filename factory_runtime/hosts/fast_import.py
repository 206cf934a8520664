"""Makes a commit with one `git fast-import`: whole, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, cast

from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.git import git_process
from factory_runtime.hosts.history import BRANCH_REF
from factory_runtime.hosts.orders import FACTORY_ADDRESS, LayerCheck, author_name, full_message
from factory_runtime.ports import CommitOrder

_COMMIT_MARK = ":1"


class FastImport:
    """The making of one commit, which may take several tries.

    The files are read once; a later try names the blobs that an earlier one has stored.

    Args:
        place: the bare repository.
        order: what the commit is to say.
        files: its files, in any order; of two with one path the later counts.
        lock: a descriptor that git holds while it lives.
    """

    def __init__(
        self, place: Path, order: CommitOrder, files: Iterable[TreeFile], lock: int
    ) -> None:
        self._place, self._order, self._lock = place, order, lock
        self._message = full_message(order).encode(errors="replace")
        self._files = files
        self._content: dict[str, str] | None = None

    def run(
        self,
        head: str | None,
        check: LayerCheck,
        before: Callable[[Mapping[str, str]], None],
    ) -> str:
        """Put the commit on top of ``head``; gives its id.

        Args:
            head: what the branch must be at.
            check: looks at every file.
            before: told path → ``<mode> <blob>`` of all files just before the commit is made.

        Raises:
            BranchMovedError: the branch is no longer at ``head``.
            FactoryError: from ``check``, or see ``git_error``.
        """
        # Without its last word, `done`, git takes back everything: a killed sender makes nothing.
        arguments = ["fast-import", "--quiet", "--done", "--date-format=raw"]
        with git_process(self._place, arguments, keep_open=self._lock) as process:
            out = cast(IO[bytes], process.stdin)
            if self._content is None:
                self._content = _send_blobs(out, self._files, check)
            else:
                for path, content in self._content.items():
                    check.add(path, content)
            before(self._content)
            self._send_commit(out, head, self._content)
            out.flush()
            sha = cast(IO[bytes], process.stdout).readline().decode().strip()
        return sha  # noqa: RET504 - the end of the block may raise

    def run_changes(self, head: str, changes: Mapping[str, str | None]) -> str:
        """As ``run``, of files that the repository has: path → ``<mode> <blob>``, None removes it."""
        arguments = ["fast-import", "--quiet", "--done", "--date-format=raw"]
        with git_process(self._place, arguments, keep_open=self._lock) as process:
            out = cast(IO[bytes], process.stdin)
            self._send_commit(out, head, changes)
            out.flush()
            sha = cast(IO[bytes], process.stdout).readline().decode().strip()
        return sha  # noqa: RET504 - the end of the block may raise

    def _send_commit(
        self, out: IO[bytes], head: str | None, content: Mapping[str, str | None]
    ) -> None:
        moment = f"{max(0, int(self._order.at.timestamp()))} +0000"
        author = f"{author_name(self._order.author)} <{FACTORY_ADDRESS}> {moment}"
        committer = f"Factory Runtime <{FACTORY_ADDRESS}> {moment}"
        out.write(f"commit {BRANCH_REF}\nmark {_COMMIT_MARK}\n".encode())
        out.write(f"author {author}\ncommitter {committer}\n".encode(errors="replace"))
        out.write(b"data %d\n%b\n" % (len(self._message), self._message))
        if head is not None:
            out.write(f"from {head}\n".encode())
        for path, mode_and_blob in content.items():
            if mode_and_blob is None:
                out.write(b"D %b\n" % _quoted(path))
            else:
                out.write(b"M %b %b\n" % (mode_and_blob.encode(), _quoted(path)))
        out.write(f"\nget-mark {_COMMIT_MARK}\ndone\n".encode())


def _send_blobs(out: IO[bytes], files: Iterable[TreeFile], check: LayerCheck) -> dict[str, str]:
    content: dict[str, str] = {}
    for file in files:
        mode = "100755" if file.executable else "100644"
        body = file.content
        if file.link is not None:
            mode, body = "120000", file.link.encode(errors="surrogateescape")
        blob = hashlib.sha1(b"blob %d\0" % len(body), usedforsecurity=False)
        blob.update(body)
        mode_and_blob = f"{mode} {blob.hexdigest()}"
        check.add(file.path, mode_and_blob)
        out.write(b"blob\ndata %d\n" % len(body))
        out.write(body)
        out.write(b"\n")
        content[file.path] = mode_and_blob
    return content


def _quoted(path: str) -> bytes:
    escaped = path.encode(errors="surrogateescape").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % escaped

"""A real git server on the loopback: git's own, or one that misbehaves as a test says."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]

_AUTHOR = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass
class GitServer:
    """Serves the repositories below a folder.

    Attributes:
        host: with its port.
        asked: the first lines of requests, with what they told of who asks.
        ending: set when the tests are done with it.
    """

    root: Path
    host: str = ""
    scheme: str = "http"
    asked: list[tuple[str, str | None]] = field(default_factory=list[Any])
    ending: threading.Event = field(default_factory=threading.Event)
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])

    def location(self, name: str = "templates", ref: str = "v1", inside: str = "") -> str:
        """What a person would type to publish from it."""
        end = f"#subdirectory={inside}" if inside else ""
        return f"git+{self.scheme}://{self.host}/{name}@{ref}{end}"

    def commit(self, files: Mapping[str, bytes | str], name: str = "templates") -> str:
        """Put these files, and no others, into the next commit of a repository; its id."""
        work = self.root / f"{name}.work"
        if not work.exists():
            self.git("init", "--quiet", "--initial-branch=main", str(work))
            (self.root / name).symlink_to(work / ".git")
        self.git("rm", "-rqf", "--ignore-unmatch", ".", cwd=work)
        for path, body in files.items():
            place = work / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body if isinstance(body, bytes) else body.encode())
        return self.record(name)

    def record(self, name: str = "templates") -> str:
        """Commit what lies in the working folder."""
        work = self.root / f"{name}.work"
        self.git("add", "--all", cwd=work)
        self.git("commit", "--quiet", "--allow-empty", "-m", "Change", cwd=work)
        return self.git("rev-parse", "HEAD", cwd=work)

    def plant(self, lines: bytes, name: str = "templates") -> str:
        """Commit a tree that no working folder can hold: lines of ``git mktree``."""
        work = self.root / f"{name}.work"
        tree = self.git("mktree", "--missing", cwd=work, given=lines)
        commit = self.git("commit-tree", tree, "-m", "Planted", cwd=work)
        self.git("update-ref", "refs/heads/main", commit, cwd=work)
        return commit

    def tag(self, tag: str, name: str = "templates") -> None:
        """Have a tag point, maybe again, to the last commit."""
        self.git("tag", "--force", "-a", "-m", tag, tag, cwd=self.root / f"{name}.work")

    def work(self, name: str = "templates") -> Path:
        return self.root / f"{name}.work"

    def git(self, *arguments: str, cwd: Path | None = None, given: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.root,
            input=given,
            capture_output=True,
            check=False,
            env={**os.environ, **_AUTHOR},
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    # misbehaving

    def hangs(self, name: str = "slow") -> None:
        """Take requests for a repository and say nothing."""
        self.answers[f"/{name}/"] = lambda _request: self._hold()

    def redirects(self, name: str, to: str) -> None:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(302)
            request.send_header("Location", to + request.path.removeprefix(f"/{name}"))
            request.end_headers()

        self.answers[f"/{name}/"] = answer

    def refuses(self, name: str, status: int, **headers: str) -> None:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for key, value in headers.items():
                request.send_header(key.replace("_", "-"), value)
            request.end_headers()

        self.answers[f"/{name}/"] = answer

    def pours(self, name: str = "huge") -> None:
        """Answer the fetch with a pack that does not end."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            if request.command == "GET":
                self.serve(request, as_=request.path.replace(f"/{name}/", "/templates/"))
                return
            asked = request.rfile.read(int(request.headers.get("Content-Length", "0")))
            if b"ls-refs" in asked:
                path = request.path.replace(f"/{name}/", "/templates/")
                self.serve(request, as_=path, body=asked)
                return
            request.send_response(200)
            request.send_header("Content-Type", "application/x-git-upload-pack-result")
            request.end_headers()
            packet = b"\x01" + os.urandom(60_000)
            head = b"PACK\x00\x00\x00\x02\x00\x00\x00\x01\xb0\x80\x80\x80\x80\x01\x78\x01"
            request.wfile.write(b"000dpackfile\n" + _packet(b"\x01" + head))
            while not self.ending.is_set():
                # A stored block of zlib's in each: it is taken as it comes.
                block = b"\x00" + (50_000).to_bytes(2, "little") + (15_535).to_bytes(2, "little")
                request.wfile.write(_packet(b"\x01" + block + packet[1:50_001]))

        self.answers[f"/{name}/"] = answer

    def serve(
        self, request: BaseHTTPRequestHandler, as_: str | None = None, body: bytes | None = None
    ) -> None:
        """Answer by `git http-backend`."""
        path, _, query = (as_ or request.path).partition("?")
        if body is None:
            body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=False,
            env={
                **os.environ,
                **_AUTHOR,
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": request.command,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode().split("\r\n")]
        headers = {key: value for key, _, value in lines}
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(content)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.requestline, request.headers.get("Authorization")))
        for start, misbehave in self.answers.items():
            if request.path.startswith(start):
                misbehave(request)
                return
        self.serve(request)

    def _hold(self) -> None:
        self.ending.wait(60)


def _packet(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


@contextmanager
def git_server(root: Path, certificate: Path | None = None) -> Generator[GitServer]:
    """One on a fresh port; with a certificate, over TLS."""
    served = GitServer(root)
    root.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                served.answer(self)
            except OSError:
                self.close_connection = True  # who asked has gone

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        served.scheme = "https"
    served.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        served.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()

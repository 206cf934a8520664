"""Fetching a template from a real git server, and from hostile ones: bounded, plain files, no more."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    HostileTemplateError,
    HostRejectedError,
    PermanentError,
    TemplateNotFoundError,
    TemplateRefusedError,
)
from factory_runtime.domain.git_location import parse_git_location
from factory_runtime.hosts.template_git import GitTemplates
from factory_runtime.jobs.render.limits import RenderLimits
from tests.data_server import a_certificate
from tests.git_server import GitServer, git_server

SMALL = replace(
    RenderLimits(), wall=timedelta(seconds=30), size_bytes=1_000_000, files=50, file_bytes=1_000_000
)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[GitServer]:
    """One with a repository ``templates``, tagged v1."""
    with git_server(tmp_path_factory.mktemp("git")) as served:
        served.commit({"template.yaml": "id: demo\n", "files/run.sh": "echo", "other/x": "y"})
        served.work().joinpath("files/run.sh").chmod(0o755)
        served.work().joinpath("files/link").symlink_to("../template.yaml")
        served.record()
        served.tag("v1")
        yield served


@pytest.fixture
def repository(server: GitServer) -> GitTemplates:
    return GitTemplates([f"http://{server.host}"], SMALL)


def files(repository: GitTemplates, location: str) -> dict[str, str]:
    with repository.fetch(parse_git_location(location)) as found:
        return {
            path.relative_to(found.folder).as_posix(): path.read_text()
            for path in sorted(found.folder.rglob("*"))
            if path.is_file()
        }


def refused(repository: GitTemplates, location: str, kind: type[FactoryError]) -> str:
    with pytest.raises(kind) as refusal:
        files(repository, location)
    return refusal.value.explain()


def test_a_folder_is_what_its_commit_says(server: GitServer, repository: GitTemplates) -> None:
    commit = server.git("rev-parse", "v1^{commit}", cwd=server.work())
    for ref in ("v1", commit, "main"):
        with repository.fetch(parse_git_location(server.location(ref=ref))) as found:
            assert found.commit_id == commit
            script = found.folder / "files" / "run.sh"
            assert script.stat().st_mode & 0o777 == 0o755
            assert (found.folder / "files" / "link").readlink() == Path("../template.yaml")
            assert not (found.folder / ".git").exists()
        assert not found.folder.exists()
    inside = files(repository, server.location(inside="other"))
    assert inside == {"x": "y"}


@pytest.mark.parametrize(
    ("ref", "inside"), [("v9", ""), ("0" * 40, ""), ("v1", "nowhere"), ("v1", "template.yaml")]
)
def test_what_is_not_there_is_not_found(
    server: GitServer, repository: GitTemplates, ref: str, inside: str
) -> None:
    refused(repository, server.location(ref=ref, inside=inside), TemplateNotFoundError)


def test_a_repository_that_is_not_there_is_not_found(
    server: GitServer, repository: GitTemplates
) -> None:
    refused(repository, server.location("nobody-s"), TemplateNotFoundError)


@pytest.mark.parametrize("hosts", [(), ("git.example",), ("127.0.0.1",), ("*",)])
def test_a_host_is_asked_only_where_it_is_listed(server: GitServer, hosts: tuple[str, ...]) -> None:
    before = len(server.asked)
    listed = (*hosts, server.host, f"https://{server.host}")  # not as http
    said = refused(GitTemplates(listed, SMALL), server.location(), TemplateRefusedError)
    assert "FACTORY_TEMPLATE_HOSTS" in said
    tls = server.location().replace("git+http:", "git+https:")
    refused(GitTemplates(hosts, SMALL), tls, TemplateRefusedError)
    assert len(server.asked) == before


def test_nothing_is_asked_of_another_host_by_a_redirect(
    server: GitServer, repository: GitTemplates, tmp_path: Path
) -> None:
    with git_server(tmp_path) as other:
        server.redirects("moved", f"http://{other.host}/templates")
        said = refused(repository, server.location("moved"), TemplateRefusedError)
        assert "redirects are not followed" in said
        assert other.asked == []


def test_nobody_s_credentials_are_sent(
    server: GitServer,
    repository: GitTemplates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = server.host.partition(":")[0]
    (tmp_path / ".netrc").write_text(f"machine {host} login ann password c4nary\n")
    (tmp_path / ".git-credentials").write_text(f"http://ann:c4nary@{server.host}\n")
    (tmp_path / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    (tmp_path / "ask").write_text("#!/bin/sh\necho c4nary\n")
    (tmp_path / "ask").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_ASKPASS", str(tmp_path / "ask"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    server.refuses("private", 401, WWW_Authenticate='Basic realm="x"')
    said = refused(repository, server.location("private"), HostRejectedError)
    assert "c4nary" not in said
    assert {told for _, told in server.asked} == {None}


@pytest.mark.parametrize(
    ("mode", "name", "why"),
    [
        (b"160000 commit " + b"1" * 40, b"vendored", "submodule"),
        (b"100644 blob BLOB", b"..", "leaves the tree|does not make"),
        (b"100644 blob BLOB", b".git", "leaves the tree|does not make"),
        (b"100644 blob BLOB", b".GIT", "leaves the tree|does not make"),
        (b"100644 blob BLOB", b"a\\b", "leaves the tree"),
        (b"100644 blob BLOB", b"\xff", "UTF-8"),
        (b"120000 blob OUT", b"link", "outside"),
        (b"120000 blob UP", b"link", "outside"),
    ],
)
def test_trees_that_would_leave_the_folder_are_refused(
    server: GitServer, repository: GitTemplates, mode: bytes, name: bytes, why: str
) -> None:
    server.commit({"template.yaml": "id: demo\n"}, "hostile")
    work = server.work("hostile")

    def blob(text: bytes) -> bytes:
        return server.git("hash-object", "-w", "--stdin", cwd=work, given=text).encode()

    for word, text in {b"BLOB": b"x", b"OUT": b"/etc/passwd", b"UP": b"../../x"}.items():
        mode = mode.replace(word, blob(text))
    server.plant(mode + b"\t" + name + b"\0", "hostile")
    said = refused(repository, server.location("hostile", ref="main"), HostileTemplateError)
    assert any(word in said for word in why.split("|"))


def test_a_body_that_lies_in_lfs_is_refused(server: GitServer, repository: GitTemplates) -> None:
    server.commit({"template.yaml": "id: demo\n", "big.bin": LFS}, "lfs")
    assert "LFS" in refused(repository, server.location("lfs", ref="main"), HostileTemplateError)


def test_hooks_filters_and_attributes_of_a_repository_do_nothing(
    server: GitServer, repository: GitTemplates, tmp_path: Path
) -> None:
    plain = {
        ".gitattributes": "a.txt filter=evil eol=crlf export-subst\nb.txt export-ignore\n",
        "a.txt": "$Format:%H$\n",
        "b.txt": "kept\n",
        ".lfsconfig": f"[lfs]\n\turl = http://{server.host}/elsewhere\n",
        ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = https://h.example/x\n',
    }
    server.commit(plain, "plain")
    marker = tmp_path / "ran"
    hook = server.work("plain") / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    before = len(server.asked)
    assert files(repository, server.location("plain", ref="main")) == plain
    assert not marker.exists()
    assert all("/plain/" in line for line, _ in server.asked[before:])


@pytest.mark.parametrize(
    "contents",
    [
        {"zeros": b"\0" * 5_000_000},  # a few kilobytes on their way
        {"noise": os.urandom(3_000_000)},
        {f"file-{number}": str(number) for number in range(60)},
    ],
    ids=["packed", "bytes", "files"],
)
def test_what_is_too_large_is_refused(
    server: GitServer, repository: GitTemplates, contents: dict[str, bytes]
) -> None:
    server.commit(contents, "large")
    said = refused(repository, server.location("large", ref="main"), TemplateRefusedError)
    assert "FACTORY_RENDER_SIZE_MIB" in said


def test_a_server_that_never_stops_is_cut_off(server: GitServer, repository: GitTemplates) -> None:
    server.pours("huge")
    refused(repository, server.location("huge"), TemplateRefusedError)


def test_a_server_that_says_nothing_is_given_up(server: GitServer) -> None:
    server.hangs("slow")
    hurried = replace(SMALL, wall=timedelta(seconds=0.5))
    repository = GitTemplates([f"http://{server.host}"], hurried)
    assert "takes longer than" in refused(repository, server.location("slow"), HostBusyError)


@pytest.mark.parametrize(
    ("status", "kind"), [(403, HostRejectedError), (503, HostBusyError), (429, HostBusyError)]
)
def test_a_server_s_refusal_says_whether_to_come_again(
    server: GitServer, repository: GitTemplates, status: int, kind: type[FactoryError]
) -> None:
    server.refuses("ill", status)
    refused(repository, server.location("ill"), kind)


def test_a_server_that_is_gone_may_come_back(tmp_path: Path) -> None:
    with git_server(tmp_path) as gone:
        location = gone.location()
    refused(GitTemplates([f"http://{gone.host}"], SMALL), location, HostBusyError)


def test_by_tls_a_host_has_to_show_a_certificate_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = a_certificate(tmp_path, "localhost")
    with git_server(tmp_path / "git", certificate) as server:
        server.commit({"template.yaml": "id: demo\n"})
        port = server.host.partition(":")[2]
        location = f"git+https://localhost:{port}/templates@main"
        repository = GitTemplates([f"localhost:{port}"], SMALL)
        refused(repository, location, HostRejectedError)
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert files(repository, location) == {"template.yaml": "id: demo\n"}


def test_nothing_is_left_of_a_fetch(
    server: GitServer,
    repository: GitTemplates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files(repository, server.location())
    refused(repository, server.location(ref="v9"), TemplateNotFoundError)
    assert list(tmp_path.iterdir()) == []


def test_a_git_that_would_look_names_up_by_itself_is_not_used(
    server: GitServer,
    repository: GitTemplates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.34.1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    before = len(server.asked)
    assert "2.37" in refused(repository, server.location(), TemplateRefusedError)
    assert len(server.asked) == before


def test_without_git_it_is_said_so(
    server: GitServer, repository: GitTemplates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git is not installed" in refused(repository, server.location(), PermanentError)

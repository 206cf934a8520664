"""The render's cache key, its limits, and what is refused of what came out."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_runtime.domain.errors import HostileTemplateError, RenderFailedError
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.jobs.render.box import render_key
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.jobs.render.trees import check_tree, find_excess
from factory_runtime.settings import Settings

ORDER = RenderOrder((Layer("files/base", {"name": "orders", "ports": [1, 2]}),))
SOURCES = {"files/base": "a" * 64}
KEY = render_key("acme", "template-layer", "1", ORDER, SOURCES)


def test_a_key_is_hex_and_the_same_every_time() -> None:
    again = RenderOrder((Layer("files/base", {"ports": [1, 2], "name": "orders"}),))

    assert render_key("acme", "template-layer", "1", again, {**SOURCES, "other": "c" * 64}) == KEY
    assert len(KEY) == 64
    assert int(KEY, 16)


@pytest.mark.parametrize(
    "other",
    [
        render_key("other", "template-layer", "1", ORDER, SOURCES),
        render_key("acme", "infrastructure", "1", ORDER, SOURCES),
        render_key("acme", "template-layer", "2", ORDER, SOURCES),
        render_key("acme", "template-layer", "1", ORDER, {"files/base": "b" * 64}),
        render_key("acme", "template-layer", "1", RenderOrder(ORDER.layers * 2), SOURCES),
        render_key("acme", "template-layer", "1", RenderOrder((Layer("files/base", {}),)), SOURCES),
        # The name stands in the answers file.
        render_key(
            "acme",
            "template-layer",
            "1",
            RenderOrder((Layer("files/more", ORDER.layers[0].data),)),
            {"files/more": "a" * 64},
        ),
    ],
)
def test_whatever_shapes_the_files_changes_the_key(other: str) -> None:
    assert other != KEY


def test_a_source_that_the_plan_does_not_have_is_named() -> None:
    with pytest.raises(RenderFailedError, match="'files/base'"):
        render_key("acme", "template-layer", "1", ORDER, {})


@given(st.text(), st.text())
def test_tenant_and_type_do_not_run_into_each_other(tenant: str, job_type: str) -> None:
    key = render_key(tenant, job_type, "1", ORDER, SOURCES)

    assert (key == KEY) == ((tenant, job_type) == ("acme", "template-layer"))


def test_limits_come_from_the_settings() -> None:
    settings = Settings(
        render_seconds=2,
        render_cpu_seconds=3,
        render_memory_mib=64,
        render_size_mib=5,
        render_files=6,
    )

    assert RenderLimits.from_settings(settings) == RenderLimits(
        wall=timedelta(seconds=2),
        cpu=timedelta(seconds=3),
        memory_bytes=64 * 1024**2,
        size_bytes=5 * 1024**2,
        files=6,
        file_bytes=5 * 1024**2,
    )


def test_a_growing_tree_is_found_to_be_over_its_limits(tmp_path: Path) -> None:
    limits = RenderLimits(files=4, size_bytes=10)
    assert find_excess(tmp_path / "none", limits) is None
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(10))
    (tmp_path / "loop").symlink_to(".")
    assert find_excess(tmp_path, limits) is None
    (tmp_path / "a" / "c").write_bytes(bytes(1))
    assert find_excess(tmp_path, limits) == "size"
    (tmp_path / "a" / "c").write_bytes(b"")
    assert find_excess(tmp_path, limits) is None
    (tmp_path / "a" / "d").write_bytes(b"")
    assert find_excess(tmp_path, limits) == "files"


def test_a_plain_tree_passes(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/run.sh").write_text("")
    (tmp_path / "deep/er/run.sh").chmod(0o755)
    (tmp_path / "deep/link").symlink_to("er/run.sh")
    (tmp_path / "deep/up").symlink_to("..")
    (tmp_path / "round").symlink_to("round")

    check_tree(tmp_path)


def test_what_should_be_in_nobodys_repository_is_refused(tmp_path: Path) -> None:
    def refused(what: str) -> None:
        with pytest.raises(HostileTemplateError, match=what):
            check_tree(tmp_path / what)

    for name in ("pipe", "setuid", "hard", "absolute", "leaves", "chain", ".git", "bytes"):
        (tmp_path / name / "inner").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe/pipe")
    (tmp_path / "setuid/setuid").touch()
    (tmp_path / "setuid/setuid").chmod(0o4755)
    (tmp_path / "hard/hard").touch()
    (tmp_path / "hard/inner/other").hardlink_to(tmp_path / "hard/hard")
    (tmp_path / "absolute/absolute").symlink_to("/etc/passwd")
    (tmp_path / "leaves/leaves").symlink_to("../pipe")
    (tmp_path / "chain/inner/up").symlink_to("..")
    (tmp_path / "chain/chain").symlink_to("inner/up/../pipe")
    (tmp_path / ".git/inner/.git").touch()
    os.close(os.open(os.fsencode(tmp_path) + b"/bytes/bytes\xff", os.O_CREAT))

    for name in ("pipe", "setuid", "hard", "absolute", "leaves", "chain", "bytes"):
        refused(name)
    refused(r".git")

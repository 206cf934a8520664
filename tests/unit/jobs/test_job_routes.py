"""Which routes are taken, and which are refused before a job is sent along one."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import SettingsError
from factory_runtime.domain.route import Route
from factory_runtime.jobs.routes import check_routes
from factory_runtime.settings import Settings

TYPES = ("documentation", "repo-generation", "approval")


def test_a_route_is_a_pool_and_a_queue_in_it():
    found = check_routes({"documentation": "docs-pool/docs"}, TYPES)
    assert found == {"documentation": Route("docs-pool", "docs")}
    assert str(found["documentation"]) == "docs-pool/docs"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docs",
        "docs/",
        "/docs",
        "a/b/c",
        " a/b",
        "a/b\n",
        "a/b c",
        "a:b/c",
        "a%2f/b",
        "a/" + "b" * 91,
    ],
)
def test_what_no_queue_of_prefect_s_could_be_is_refused(text: str):
    with pytest.raises(SettingsError, match=r"documentation: .* is no route"):
        check_routes({"documentation": text}, TYPES)


def test_a_type_that_nobody_knows_is_refused_and_the_one_that_was_meant_is_named():
    with pytest.raises(SettingsError, match="'documentatoin'") as refused:
        check_routes({"documentatoin": "docs-pool/docs"}, TYPES)
    assert refused.value.hint == "did you mean documentation?"


def test_asking_people_is_no_work_that_goes_elsewhere():
    with pytest.raises(SettingsError, match="approval"):
        check_routes({"approval": "docs-pool/docs"}, TYPES)


def test_no_process_executes_anything_with_a_route_that_makes_no_sense(tmp_path: Path):
    runtime = open_runtime(Settings(home=tmp_path, job_routes={"documentation": "docs"}))
    with pytest.raises(SettingsError, match="is no route"):
        _ = runtime.engine

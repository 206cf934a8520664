"""Job types of other packages, as they are installed."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

import pytest

from factory_runtime.domain.errors import UnknownJobTypeError
from factory_runtime.jobs.registry import GROUP, find_job_types, job_type_facts, job_types

OURS = {
    "approval",
    "documentation",
    "infrastructure",
    "pipeline-generation",
    "repo-generation",
    "template-layer",
    "data-fetch",
    "trend-analysis",
    "chart",
    "document",
    "saas-scaffolding",
    "recall",
    "http-request",
    "pipeline-run",
    "pull-request",
    "work-item",
}
SERIAL = itertools.count()
GOOD = """
from factory_runtime.domain.template import JobTypeFacts

class Smoke:
    facts = JobTypeFacts(name="smoke-test", version="1", with_schema={})
    def render(self, with_): return None
    def publish(self, context, with_, tree): return None
    def probe(self, host, effect): return None
"""


def install(folder: Path, package: str, entries: str, source: str) -> None:
    """A package as pip would leave it: a module, and metadata with its entry points."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [line.replace("MODULE", module) for line in entries.splitlines()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return tmp_path


def test_ours_are_all_there_under_their_own_names() -> None:
    assert set(job_types()) >= OURS
    assert job_types().broken == {}
    assert {name: facts.name for name, facts in job_type_facts().items()} == {
        name: name for name in job_types()
    }


def test_a_package_adds_a_job_type_by_entry_point(site: Path) -> None:
    install(site, "acme-smoke", "smoke-test = MODULE:Smoke", GOOD)
    found = find_job_types()
    assert set(found) == {*OURS, "smoke-test"}
    assert found["smoke-test"].facts.version == "1"


@pytest.mark.parametrize(
    ("entry", "source", "why"),
    [
        ("MODULE:Smoke", "import nothing_of_that_name", "ModuleNotFoundError"),
        ("MODULE:Smoke", "def broken(:", "SyntaxError"),
        ("MODULE:Smoke", "raise SystemExit(3)", "SystemExit"),
        ("MODULE:Missing", GOOD, "Missing"),
        ("MODULE:Smoke", "class Smoke: pass", "has no facts"),
        ("MODULE:Smoke", GOOD.replace("smoke-test", "other"), "calls itself 'other'"),
        ("MODULE:Smoke", GOOD.replace("def render", "def paint"), r"has no render\(\)"),
        ("MODULE:Smoke", GOOD.replace("def probe", "def look"), r"has no probe\(\)"),
    ],
)
def test_a_broken_package_is_named_and_takes_no_other_down(
    site: Path, entry: str, source: str, why: str
) -> None:
    package = f"acme-broken-{next(SERIAL)}"  # a module is imported once
    install(site, package, f"smoke-test = {entry}", source)
    found = find_job_types()
    assert set(found) == OURS
    with pytest.raises(UnknownJobTypeError, match=why) as info:
        found["smoke-test"]
    assert f"package {package}" in str(info.value)
    assert package in str(info.value.hint)


def test_a_name_that_two_packages_offer_is_nobodys(site: Path) -> None:
    install(site, "acme-one", "smoke-test = MODULE:Smoke", GOOD)
    install(site, "acme-two", "smoke-test = MODULE:Smoke", GOOD)
    found = find_job_types()
    assert set(found) == OURS
    with pytest.raises(UnknownJobTypeError, match="more than once, by acme-one, acme-two"):
        found["smoke-test"]


def test_no_package_can_take_the_place_of_ours(site: Path) -> None:
    source = GOOD.replace("smoke-test", "repo-generation")
    install(site, "acme-thief", "repo-generation = MODULE:Smoke", source)
    found = find_job_types()
    assert type(found["repo-generation"]).__name__ == "RepoGeneration"


def test_an_unknown_job_type_suggests_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownJobTypeError, match="'repo-genration'") as info:
        job_types()["repo-genration"]
    assert info.value.hint == "did you mean 'repo-generation'?"
    with pytest.raises(UnknownJobTypeError) as other:
        job_types()["xyzzy"]
    assert "template-layer" in str(other.value.hint)
    assert "xyzzy" not in job_types()
    assert job_types().get("xyzzy") is None

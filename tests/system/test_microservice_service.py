"""What the built-in template generates: it works, and other tools can read it."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement

from tests.system.microservice import SERVICES, render_service


def environment(**more: str) -> dict[str, str]:
    """What a generated service's tools need, and nothing of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(folder: Path, *command: str, **more: str) -> str:
    """What a Python module prints, run in the generated repository; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- it works


@pytest.mark.parametrize("name", SERVICES)
def test_a_generated_service_passes_its_own_linter(services: dict[str, Path], name: str) -> None:
    run(services[name], "ruff", "check", "--no-cache")
    run(services[name], "ruff", "format", "--check", "--no-cache")


@pytest.mark.parametrize("name", ["bare", "full", "memory"])
def test_a_generated_service_passes_its_own_tests(services: dict[str, Path], name: str) -> None:
    report = run(services[name], "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert " passed" in report
    assert "skipped" not in report


@pytest.fixture(scope="module")
def database(services: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a database that the full service's migrations were run on."""
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'service.db'}"
    run(services["full"], "alembic", "upgrade", "heads", DATABASE_URL=url)
    return url


def test_one_command_runs_the_migrations_of_every_entity(database: str) -> None:
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as connection:
        current = {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
    assert current >= {"orders_0001", "order_lines_0001"}


def test_migrations_without_any_entity_are_no_error(tmp_path: Path) -> None:
    folder = render_service(tmp_path / "service", {"service_name": "orders"})
    run(folder, "alembic", "upgrade", "heads", DATABASE_URL=f"sqlite:///{tmp_path / 'service.db'}")


@pytest.fixture
def served(services: dict[str, Path], database: str) -> Iterator[str]:
    """Base address of the full service, served by a process of our own on a port it chose."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0"],
        cwd=services["full"],
        env=environment(DATABASE_URL=database),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)["event"]  # from the first line on, the log is JSON
                if found := re.search(r"http://127\.0\.0\.1:\d+", event):
                    yield found[0]
                    break
            else:
                pytest.fail("the service did not start")
        finally:
            process.terminate()


def test_a_generated_service_serves(served: str) -> None:
    with httpx.Client(base_url=served) as client:
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/ready").json()["checks"] == {"database": "ok"}
        made = client.post("/v1/order-lines", json={"name": "first"})
        assert made.status_code == 201
        place = made.headers["Location"]
        assert client.get(place).json() == made.json()
        changed = client.put(place, json={"name": "renamed", "description": "now"})
        assert changed.json()["description"] == "now"
        page = client.get("/v1/order-lines").json()
        assert [item["name"] for item in page["items"]] == ["renamed"]
        assert client.delete(place).status_code == 204
        assert client.get(place).status_code == 404


@pytest.mark.parametrize("name", ["bare", "full"])
def test_every_dependency_is_one_that_these_tests_ran_with(
    services: dict[str, Path], name: str
) -> None:
    project = tomllib.loads((services[name] / "pyproject.toml").read_text())
    named = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    for text in named:
        requirement = Requirement(text)
        installed = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(installed, prereleases=True), text


def test_every_library_it_imports_is_a_dependency(services: dict[str, Path]) -> None:
    project = tomllib.loads((services["full"] / "pyproject.toml").read_text())
    named = {Requirement(text).name for text in project["project"]["dependencies"]}
    # Installed by what is named, and meant to be used with it.
    named |= {"starlette", "opentelemetry-api", "opentelemetry-instrumentation"}
    owners = importlib.metadata.packages_distributions()
    for path in (services["full"] / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [module] if module else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for root in {name.split(".")[0] for name in names} - {"service"}:
                known = {owner.lower() for owner in owners.get(root, [])}
                assert root in sys.stdlib_module_names or known & named, f"{path}: {root}"


@pytest.mark.service
def test_a_generated_service_keeps_its_data_in_postgresql(
    services: dict[str, Path], empty_postgres_url: str
) -> None:
    report = run(
        services["full"],
        *("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *("tests/domain/test_orders.py", "tests/test_migrations.py"),
        TEST_DATABASE_URL=empty_postgres_url,
    )
    assert " passed" in report


@pytest.mark.service
def test_replicas_that_start_at_once_migrate_once(
    services: dict[str, Path], empty_postgres_url: str
) -> None:
    # As a hosting operator hands it out: without the driver's name.
    url = empty_postgres_url.replace("postgresql+psycopg:", "postgresql:")
    with ThreadPoolExecutor(2) as pool:
        upgrades = [
            pool.submit(run, services["full"], "alembic", "upgrade", "heads", DATABASE_URL=url)
            for _ in range(2)
        ]
        for upgrade in upgrades:
            upgrade.result()


# --- files that other tools read


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (".github/workflows/ci.yml", ["vendor.github-workflows"]),
        (
            "azure-pipelines.yml",
            [
                "vendor.azure-pipelines",
                *("--regex-variant", "nonunicode"),
                *("--data-transform", "azure-pipelines"),
            ],
        ),
    ],
    ids=["github", "azure"],
)
def test_pipelines_match_their_published_schema(
    services: dict[str, Path], path: str, options: list[str]
) -> None:
    paths = [str(services[name] / path) for name in ("bare", "full")]
    run(services["full"], "check_jsonschema", "--builtin-schema", *options, *paths)


def test_the_compose_file_matches_its_schema(services: dict[str, Path]) -> None:
    run(
        services["full"],
        *("check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"),
    )


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Kind to manifest, of everything the base lists."""
    base = folder / "infrastructure" / "base"
    listed: list[str] = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted({p.name for p in base.glob("*.yaml")} - {"kustomization.yaml"})
    found = [yaml.safe_load((base / name).read_text()) for name in listed]
    return {manifest["kind"]: manifest for manifest in found}


@pytest.mark.parametrize("name", ["bare", "full"])
def test_manifests_fit_together(services: dict[str, Path], name: str) -> None:
    found = manifests(services[name])
    spec = found["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert found["Service"]["spec"]["selector"].items() <= labels.items()
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    pod = spec["template"]["spec"]
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == SERVICES[name].get("port", 8000)
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    dockerfile = (services[name] / "Dockerfile").read_text()
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile
    if name == "full":
        secret = container["env"][0]["valueFrom"]["secretKeyRef"]["name"]
        assert secret == found["Cluster"]["metadata"]["name"] + "-app"
        scaled = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
        assert scaled["name"] == found["Deployment"]["metadata"]["name"]


@pytest.mark.parametrize("name", ["bare", "full"])
@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_overlays_change_what_the_base_has(
    services: dict[str, Path], name: str, overlay: str
) -> None:
    found = manifests(services[name])
    place = services[name] / "infrastructure" / "overlays" / overlay
    kustomization = yaml.safe_load((place / "kustomization.yaml").read_text())
    assert [(place / path).resolve() for path in kustomization["resources"]] == [
        (services[name] / "infrastructure" / "base").resolve()
    ]
    images = {image["name"] for image in kustomization["images"]}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    used = {c["image"] for c in [*pod["containers"], *pod.get("initContainers", [])]}
    assert used == images
    for patch in kustomization.get("patches", []):
        for change in yaml.safe_load(patch["patch"]):
            value: Any = found[patch["target"]["kind"]]
            for key in change["path"].strip("/").split("/"):
                value = value[key]
            assert type(value) is type(change["value"])


@pytest.mark.parametrize("name", SERVICES)
def test_links_between_documents_lead_somewhere(services: dict[str, Path], name: str) -> None:
    for page in services[name].rglob("*.md"):
        text = page.read_text()
        anchors = {
            re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in anchors, f"{page.name}: {target}"
            elif not target.startswith("https://"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"

"""The built-in template: what it generates works, and is made of parts that fit."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from tests.system.microservice import (
    INPUTS_SCHEMA,
    TEMPLATE,
    files_below,
    follows,
    layers,
    render_service,
)

SERVICES: dict[str, dict[str, Any]] = {
    "bare": {"service_name": "orders", "database": "none"},
    "full": {"service_name": "orders", "entities": ["order", "order-line"], "port": 9001},
    "memory": {"service_name": "orders", "entities": ["category"], "database": "none"},
    # Layout must hold for the longest name as for the shortest.
    "extremes": {"service_name": "a1", "entities": ["ab", "a-long-name-with-24-chars"[:24]]},
    "extremes-in-memory": {
        "service_name": "s" * 39,
        "entities": ["ab", "x" * 24],
        "database": "none",
    },
}
HOSTILE = [
    """He said "it's {{ 7 * 7 }}" {% raw %} & <b>left</b> \\ \\n ''' \"\"\" """,
    "yes: [no, {a: *b}] # not a comment | > % @ `tick`",
    "---",
    "${{ inputs.service_name }} $(rm -rf /) $HOME",
    "Grüße 日本語 🚀 \u202e",
    "",
]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each service, rendered once."""
    root = tmp_path_factory.mktemp("services")
    return {name: render_service(root / name, inputs) for name, inputs in SERVICES.items()}


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


# --- what is generated works


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


def test_one_command_runs_the_migrations_of_every_entity(
    services: dict[str, Path], database: str
) -> None:
    current = run(services["full"], "alembic", "current", DATABASE_URL=database)
    assert set(current.split()) >= {"orders_0001", "order_lines_0001"}


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


# --- files that other tools read


@pytest.mark.parametrize("name", ["bare", "full"])
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
    services: dict[str, Path], name: str, path: str, options: list[str]
) -> None:
    run(services[name], "check_jsonschema", "--builtin-schema", *options, path)


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


# --- layers


def test_no_layer_writes_a_file_of_another(tmp_path: Path) -> None:
    # Stronger than what steps that run at once need, and so no order of them matters.
    rendered = [
        (layer.step, layer.files(tmp_path / str(number)).keys())
        for number, layer in enumerate(layers(SERVICES["full"]))
    ]
    for (job, paths), (other_job, other_paths) in combinations(rendered, 2):
        assert not paths & other_paths, f"{job} and {other_job}"


def test_layers_without_the_service_name_are_the_same_for_every_service(tmp_path: Path) -> None:
    trees: dict[str, dict[str, dict[str, bytes]]] = {}
    for service in ("orders", "billing"):
        for number, layer in enumerate(layers({**SERVICES["full"], "service_name": service})):
            key = f"{layer.step.split('[')[0]} {number}"
            trees.setdefault(key, {})[service] = layer.files(tmp_path / service / str(number))
    alike = {key.split()[0] for key, tree in trees.items() if tree["orders"] == tree["billing"]}
    assert alike == {"apply-domain", "apply-infrastructure", "generate-pipelines"}


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_of_the_template_language_is_left(services: dict[str, Path], name: str) -> None:
    for path, content in files_below(services[name]).items():
        # Pipelines have expressions of their own, written ${{ … }}.
        text = content.decode()
        plain = re.sub(r"\$\{\{[^}]*\}\}", "", path + text)
        assert not re.search(r"\{\{|\{%|%\}|\{#", plain), path
        assert not path.endswith(".jinja")
        assert text.endswith("\n") or not text, f"{path} ends without a newline"
        assert not re.search(r"[ \t]$|\n{4}|\A\n|\n\n\Z", text, re.MULTILINE), path


@pytest.mark.parametrize("description", HOSTILE)
def test_a_description_is_text_wherever_it_stands(
    services: dict[str, Path], tmp_path: Path, description: str
) -> None:
    inputs = {**SERVICES["bare"], "description": description}
    jsonschema.validate(inputs, INPUTS_SCHEMA)
    folder = render_service(tmp_path / "service", inputs)
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["description"] == description
    for answers in ("base", "docs"):
        text = (folder / f".copier-answers.{answers}.yml").read_text()
        assert yaml.safe_load(text)["description"] == description
    assert description in (folder / "README.md").read_text()
    plain = files_below(services["bare"])
    changed = {p for p, content in files_below(folder).items() if plain.get(p) != content}
    assert changed == {
        ".copier-answers.base.yml",
        ".copier-answers.docs.yml",
        "README.md",
        "docs/architecture.md",
        "pyproject.toml",
    }


# --- inputs


def test_defaults_are_valid_inputs() -> None:
    jsonschema.Draft202012Validator.check_schema(INPUTS_SCHEMA)
    properties: dict[str, Any] = INPUTS_SCHEMA["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    jsonschema.validate({"service_name": "orders", **defaults}, INPUTS_SCHEMA)
    assert set(properties) - set(defaults) == set(INPUTS_SCHEMA["required"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_name": "Orders"},
        {"service_name": "../orders"},
        {"service_name": "orders-"},
        {"service_name": "orders\n"},
        {"description": "two\nlines"},
        {"description": "ends\n"},
        {"description": "\x7f"},
        {"owner": "@team"},
        {"entities": ["Order"]},
        {"entities": ["order", "order"]},
        {"entities": ["../order"]},
        {"entities": ["order_line"]},
        {"entities": ["order-"]},
        {"entities": ["order\n"]},
        {"entities": ["x" * 25]},
        {"entities": ["session"]},
        {"entities": ["true"]},
        {"entities": [{"name": "order"}]},
        {"database": "mysql"},
        {"port": 80},
        {"port": "8000"},
        {"pipelines": []},
        {"pipelines": ["jenkins"]},
        {"unknown": 1},
    ],
    ids=repr,
)
def test_inputs_that_would_not_render_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"service_name": "orders", **wrong}, INPUTS_SCHEMA)


def test_an_entity_may_not_take_a_name_that_its_modules_need(services: dict[str, Path]) -> None:
    needed = {"None", "True", "False"}
    for service, package in (("full", "orders"), ("memory", "categories")):
        for path in (services[service] / "src/service/domain" / package).glob("*.py"):
            names = set(_bound_names(ast.parse(path.read_text())))
            if names & {"Order", "Category"}:
                needed |= {n for n in names if re.fullmatch(r"(?:[A-Z][a-z]+)+", n)}
    needed = {n for n in needed if not n.startswith(("Order", "Category"))}
    kebab = {re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower() for name in needed}
    assert set(INPUTS_SCHEMA["properties"]["entities"]["items"]["not"]["enum"]) == kebab


def _bound_names(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            yield node.name


def test_a_step_needs_every_step_it_reads() -> None:
    earlier = follows()
    for step in TEMPLATE["steps"]:
        reads = re.findall(r"steps\.(\w+)", json.dumps(step["with"]))
        assert {name.replace("_", "-") for name in reads} <= earlier[step["name"]]

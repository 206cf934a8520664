"""The built-in template: its layers fit together, and its inputs let nothing odd through."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.domain.tree import pack_folder, read_tree
from factory_runtime.jobs.render.box import render
from factory_runtime.jobs.render.limits import RenderLimits
from tests.system.microservice import (
    INPUTS_SCHEMA,
    SERVICES,
    TEMPLATE,
    files_below,
    follows,
    layers,
    render_service,
)

HOSTILE = [
    """He said "it's {{ 7 * 7 }}" {% raw %} & <b>left</b> \\ \\n ''' \"\"\" """,
    "yes: [no, {a: *b}] # not a comment | > % @ `tick`",
    "---",
    "${{ inputs.service_name }} $(rm -rf /) $HOME",
    "Grüße 日本語 🚀 \u202e",
    "",
]


# --- layers


def test_the_render_box_renders_the_same_files(services: dict[str, Path]) -> None:
    storage = InMemoryArtifactStorage()
    sources: dict[str, str] = {}
    order: list[Layer] = []
    for layer in layers(SERVICES["full"]):
        packed = BytesIO()
        pack_folder(layer.source, packed)
        sources[layer.source.name] = storage.put("local", packed.getvalue()).digest
        order.append(Layer(layer.source.name, layer.data))
    rendered = render(RenderOrder(tuple(order)), sources, storage, "local", RenderLimits())
    found = {f.path: f.content for f in read_tree(storage.open("local", rendered.reference.digest))}
    expected = files_below(services["full"])
    assert found.keys() == expected.keys()
    # The box writes where a source came from in a way that is the same on every machine.
    assert {p for p in found if found[p] != expected[p]} == {
        path for path in expected if path.startswith(".copier-answers")
    }


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
        {"service_name": "fastapi"},
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


def test_a_service_may_not_take_the_name_of_a_library_it_uses(services: dict[str, Path]) -> None:
    project = tomllib.loads((services["full"] / "pyproject.toml").read_text())
    named = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    refused: list[str] = INPUTS_SCHEMA["properties"]["service_name"]["not"]["enum"]
    assert set(refused) == {Requirement(text).name for text in named}


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

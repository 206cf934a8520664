"""Renders the built-in microservice template layer by layer, the way a run would."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import copier._main as copier_main
import yaml
from copier import run_copy

import factory_runtime

CORE = Path(factory_runtime.__file__).parent
TEMPLATE_FOLDER = CORE / "templates" / "microservice"
PIPELINE_SOURCES = CORE / "jobs" / "sources"
TEMPLATE: dict[str, Any] = yaml.safe_load((TEMPLATE_FOLDER / "template.yaml").read_text())
INPUTS_SCHEMA: dict[str, Any] = TEMPLATE["inputs"] | {"additionalProperties": False}

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

# Else Copier looks for git, and runs it, for every file.
copier_main.is_git_available = lambda: False  # pyright: ignore[reportPrivateImportUsage]

_EXPRESSION = re.compile(r"\$\{\{ (inputs\.)?(\w+) \}\}")


@dataclass(frozen=True)
class RenderedLayer:
    """One source with the data that a step gives it."""

    step: str
    source: Path
    data: Mapping[str, Any]

    def render(self, folder: Path) -> None:
        """Render it into the folder, over what is there."""
        run_copy(
            str(self.source),
            folder,
            data=dict(self.data),
            defaults=True,
            overwrite=True,
            quiet=True,
        )

    def files(self, folder: Path) -> dict[str, bytes]:
        """What it renders, path to content, in an empty folder."""
        self.render(folder)
        return files_below(folder)


def layers(inputs: Mapping[str, Any]) -> Iterator[RenderedLayer]:
    """Every layer of the template for these inputs, in an order that respects needs."""
    properties: dict[str, Any] = INPUTS_SCHEMA["properties"]
    known = {name: schema.get("default") for name, schema in properties.items()} | dict(inputs)
    for step in cast("Sequence[dict[str, Any]]", TEMPLATE["steps"]):
        items: Sequence[Any] = _resolve(step["each"], known) if "each" in step else [None]
        for item in items:
            if "data" not in step["with"]:
                continue  # it renders nothing
            name = step["name"] if item is None else f"{step['name']}[{item}]"
            data = _resolve(step["with"]["data"], known | {"item": item})
            if "flavours" in step["with"]:
                for flavour in _resolve(step["with"]["flavours"], known):
                    yield RenderedLayer(name, PIPELINE_SOURCES / flavour, data)
            else:
                yield RenderedLayer(name, TEMPLATE_FOLDER / step["with"]["source"], data)


def render_service(folder: Path, inputs: Mapping[str, Any]) -> Path:
    """The whole repository, later layers over earlier ones."""
    for layer in layers(inputs):
        layer.render(folder)
    return folder


def follows() -> dict[str, set[str]]:
    """Step name to the steps it waits for, directly or not."""
    found: dict[str, set[str]] = {}
    for step in TEMPLATE["steps"]:
        needs: list[str] = step.get("needs", [])
        found[step["name"]] = set(needs).union(*(found[need] for need in needs))
    return found


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, path to content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _resolve(value: Any, known: Mapping[str, Any]) -> Any:
    """The value with its expressions evaluated; the template's data needs only plain names."""
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return {key: _resolve(inner, known) for key, inner in mapping.items()}
    if isinstance(value, str) and (match := _EXPRESSION.fullmatch(value)):
        return known[match[2]]
    return value

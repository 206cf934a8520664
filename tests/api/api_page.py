"""The routes in ``docs/api.md``: ``python -m tests.api.api_page`` writes them anew."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.routing import iter_route_contexts

from api.access import Needs
from api.app import create_app
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.access import RIGHTS
from factory_runtime.settings import Settings
from factory_runtime.wire.paths import API_PREFIX
from tests.api.openapi_file import document

FILE = Path(__file__).parents[2] / "docs" / "api.md"
BEGIN, END = "<!-- routes: python -m tests.api.api_page -->\n", "<!-- end of routes -->\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One operation.

    Attributes:
        right: that it takes; ``any`` is of whoever has shown who they are, ``none`` of anybody.
    """

    tag: str
    method: str
    path: str
    right: str
    operation: Mapping[str, Any]


def rows(described: Mapping[str, Any]) -> Iterator[Row]:
    """Those of the application, as its document describes them."""
    with tempfile.TemporaryDirectory() as home:
        app = create_app(open_runtime(Settings(home=Path(home))))
    for route in iter_route_contexts(app.routes):
        found: Any = route
        for method in sorted(found.methods):
            operation = described["paths"].get(found.path, {}).get(method.lower())
            if operation is not None:
                path = found.path.removeprefix(API_PREFIX)
                tag = operation.get("tags", ["others"])[0]
                yield Row(tag, method, path, _right_of(found.dependant), operation)


def page_of(described: Mapping[str, Any]) -> str:
    """What stands between the marks: a table and the examples of each group."""
    schemas = described["components"]["schemas"]
    groups: dict[str, list[Row]] = {}
    for row in rows(described):
        groups.setdefault(row.tag, []).append(row)
    parts: list[str] = []
    for tag, group in sorted(groups.items()):
        lines = [f"### {tag.capitalize()}", "", "| route | right | |", "|---|---|---|"]
        lines += [f"| `{one.method} {one.path}` | {one.right} | {_says(one)} |" for one in group]
        lines += ["", "```sh", *(_curl(one, schemas) for one in group), "```", ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def written(page: str, described: Mapping[str, Any]) -> str:
    """The page with its routes as they are now."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + "\n" + page_of(described) + "\n" + END + rest.partition(END)[2]


def roles_table() -> str:
    """Which role has which rights."""
    lines = ["| role | its rights |", "|---|---|"]
    for role, rights in RIGHTS.items():
        lines.append(f"| {role} | {', '.join(sorted(rights))} |")
    return "\n".join(lines)


def _right_of(dependant: Any) -> str:
    for needs in _needs(dependant):
        return "any" if needs.right is None else str(needs.right)
    return "none"


def _needs(dependant: Any) -> Iterator[Needs]:
    for one in dependant.dependencies:
        if isinstance(one.call, Needs):
            yield one.call
        yield from _needs(one)


def _says(row: Row) -> str:
    first = str(row.operation.get("description", "")).partition("\n\n")[0]
    return " ".join(first.replace("``", "`").replace("|", "\\|").split())


def _curl(row: Row, schemas: Mapping[str, Any]) -> str:
    """One line that asks for it; names in the path are the shell's variables."""
    path = re.sub(r"{(\w+)}", r"$\1", row.path)
    address = f'"$API{path}"'
    content = row.operation.get("requestBody", {}).get("content", {})
    asked = content.get("application/json", {}).get("schema", {})
    # A body that may be left out is the first of two.
    named = [asked, *asked.get("anyOf", [])]
    models = [schemas[one["$ref"].rpartition("/")[2]] for one in named if "$ref" in one]
    if models:
        body = json.dumps(models[0]["examples"][0], ensure_ascii=False).replace("'", "'\\''")
        return f"curl --json '{body}' {address}"
    return f"curl {address}" if row.method == "GET" else f"curl -X {row.method} {address}"


def main() -> int:
    """Write the page."""
    FILE.write_text(written(FILE.read_text(), document()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

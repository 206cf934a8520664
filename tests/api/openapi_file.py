"""The OpenAPI document as it is kept: ``python -m tests.api.openapi_file`` writes it anew.

It refuses where the new one would break clients of the kept one. ``--breaking`` writes it all the
same, for a release that says so.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from api.app import create_app
from factory_runtime.bootstrap import open_runtime
from factory_runtime.settings import Settings
from tests.api.openapi_breaks import breaks

FILE = Path(__file__).parents[2] / "api" / "openapi.json"


def document() -> dict[str, Any]:
    """The API's, as its code describes it now."""
    with tempfile.TemporaryDirectory() as home:
        app = create_app(open_runtime(Settings(home=Path(home))))
        return json.loads(json.dumps(app.openapi()))


def spelled(found: dict[str, Any]) -> str:
    """As it stands in the file: a change of one line is a change of one line there."""
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def kept() -> dict[str, Any]:
    """The document of the file."""
    return cast("dict[str, Any]", json.loads(FILE.read_text()))


def main(arguments: list[str]) -> int:
    """Write the file; 1 where it was not written."""
    now = document()
    lost = breaks(kept(), now) if FILE.exists() else []
    if lost and "--breaking" not in arguments:
        sys.stderr.write("\n".join([*lost, "this breaks clients; --breaking writes it anyway", ""]))
        return 1
    FILE.write_text(spelled(now))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

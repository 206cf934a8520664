"""Look into Prefect's cache of renders without importing Prefect, for a preview.

A result record is a JSON file named by the cache key: ``{"metadata": {"expiration", …},
"result": "<JSON text>"}`` (prefect.results.ResultRecord, 3.8).
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path


def cached_tree(results: Path, key: str, now: datetime) -> str | None:
    """The digest of the tree that the cache holds for a key, or None."""
    try:
        record = json.loads((results / key).read_text())
        expiration = record["metadata"].get("expiration")
        if expiration is not None and datetime.fromisoformat(expiration) <= now:
            return None
        result = record["result"]
        return str((json.loads(result) if isinstance(result, str) else result)["digest"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None

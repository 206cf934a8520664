"""Where people read about the blocks."""

from __future__ import annotations

from pydantic import HttpUrl

BLOCKS_PAGE = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

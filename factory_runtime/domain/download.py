"""How bytes that somebody made are called when they are handed out."""

from __future__ import annotations

import re
from urllib.parse import quote

_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def disposition(name: str) -> str:
    """A ``Content-Disposition`` (RFC 6266) by which nothing but a plain file can be written."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if c.isprintable()).strip(". ")[:150] or "artifact"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", kept)
    encoded = quote(kept.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def safe_type(media_type: str) -> str:
    """The media type that was recorded, unless it is none: a job may have said anything."""
    essence, _, rest = media_type.partition(";")
    if _TYPE.fullmatch(essence.strip()) is None:
        return "application/octet-stream"
    charset = re.fullmatch(r"\s*charset=([A-Za-z0-9._-]{1,40})\s*", rest)
    return essence.strip() + (f"; charset={charset[1]}" if charset else "")

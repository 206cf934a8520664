"""How often a language model was asked: what that may cost is bounded by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

ASKED = "asked"
FAILED = "failed"
"""Of these two, what counts is of one day."""

ENDPOINT = "endpoint"
"""Of an endpoint that does not answer, how often in a row."""

LOST = "index"
"""Of the memory's index, since when everything is to be put in anew."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of times, of one tenant.

    Attributes:
        about: ``asked``, ``failed``, ``endpoint``, ``index``, or the digest of a text that a model
            was asked about in vain.
        until: a day's times count so long; the endpoint, or the text, is left alone so long; the
            index had everything so long.
    """

    tenant_id: str
    about: str
    times: int
    until: datetime

"""Past runs that were asked for likewise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.memory import Collection, Kind
from factory_runtime.ports import RecallQuery
from factory_runtime.services.run_memory import words_of_request

LIMIT = 3


def similar_runs(
    template_title: str,
    template_description: str,
    inputs: Mapping[str, Any],
    *,
    beside: tuple[str, ...] = (),
) -> RecallQuery:
    """What finds runs like one that is asked for so, ``beside`` the runs of these ids."""
    return RecallQuery(
        text=words_of_request(template_title, template_description, inputs),
        collections=(Collection.RUNS,),
        kinds=(Kind.RUN,),
        limit=LIMIT,
        exclude_run_ids=beside,
    )

"""Effects: the ledger of what runs did outside."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from api.access import Reader
from api.context import Here
from api.parts import PartChoice, named_by, part
from factory_runtime.domain.access import Principal
from factory_runtime.domain.errors import NotFoundError
from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.visible import visible_projects, visible_run
from factory_runtime.wire.effect import EffectAnswer
from factory_runtime.wire.page import Part
from factory_runtime.wire.run import Name

router = APIRouter(prefix="/effects", tags=["effects"])


class EffectPage(PartChoice):
    """Which effects, and which part of them."""

    run: Name | None = None
    step: Name | None = None
    status: EffectStatus | None = None


@router.get("")
def list_effects(
    wanted: Annotated[EffectPage, Query()], reader: Reader, api: Here
) -> Part[EffectAnswer]:
    """What runs did outside, or were about to, the oldest first."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        found = tx.list_effects(
            run_id=wanted.run,
            step=wanted.step,
            status=wanted.status,
            projects=visible_projects(reader),
            limit=wanted.limit + 1,
            after=named_by(wanted.cursor, partial(_effect_at, tx, reader)),
        )
    return part(found, wanted.limit, EffectAnswer.of, _place_of)


def _place_of(effect: Effect) -> tuple[str, ...]:
    return effect.run_id, effect.step, effect.effect_key, effect.kind


def _effect_at(tx: RunTransaction, who: Principal, run_id: str, step: str, *names: str) -> Effect:
    visible_run(tx, who, run_id)
    for effect in tx.list_effects(run_id=run_id, step=step):
        if (effect.effect_key, effect.kind) == names:
            return effect
    raise NotFoundError("no such effect")

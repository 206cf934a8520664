"""Callbacks: addresses that are told when runs have ended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.access import Admin
from api.context import Here
from api.problems import documented
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.callback import Callback
from factory_runtime.services.visible import visible_callback
from factory_runtime.wire.callback import CallbackAnswer, CallbackWithSecret, NewCallback
from factory_runtime.wire.page import Part

router = APIRouter(prefix="/callbacks", tags=["callbacks"])

CallbackId = Annotated[str, Path(alias="callbackId", min_length=1, max_length=64)]


@router.get("")
def list_callbacks(admin: Admin, api: Here) -> Part[CallbackAnswer]:
    """Who is told of ends, the oldest first; those that are told no more, too."""
    found = api.runtime.callbacks.list(admin.tenant_id)
    mine = (one for one in found if _is_theirs(admin, one))
    return Part(items=tuple(map(CallbackAnswer.of, mine)))


@router.post("", status_code=201)
def add_callback(asked: NewCallback, admin: Admin, api: Here) -> CallbackWithSecret:
    """Have an address told. The answer alone has the secret that its messages are signed with."""
    if asked.project_id is not None or admin.projects(Right.ADMINISTER) is not None:
        project_id = asked.project_id or api.runtime.settings.project
        admin.require(Right.ADMINISTER, project_id)
    else:
        project_id = None
    callback, secret = api.runtime.callbacks.add(
        admin.tenant_id, admin.name, asked.url, project_id, asked.statuses
    )
    return CallbackWithSecret.made(callback, secret)


@router.delete("/{callbackId}", responses=documented(404))
def remove_callback(callback_id: CallbackId, admin: Admin, api: Here) -> CallbackAnswer:
    """Tell an address no more, of what waits to be told either."""
    with api.runtime.store.begin(admin.tenant_id, read_only=True) as tx:
        visible_callback(tx, admin, callback_id, Right.ADMINISTER)
    removed = api.runtime.callbacks.remove(admin.tenant_id, admin.name, callback_id)
    return CallbackAnswer.of(removed)


def _is_theirs(admin: Principal, callback: Callback) -> bool:
    """Whether they administer whose runs it is told of: all of the tenant's are nobody's in part."""
    if callback.project_id is None:
        return admin.projects(Right.ADMINISTER) is None
    return admin.may(Right.ADMINISTER, callback.project_id)

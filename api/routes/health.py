"""How the factory is: for people, for whoever keeps its processes, and for Prometheus."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.access import Needs
from api.context import Api, Here
from api.health import is_store_there, look_at_all
from api.numbers import numbers_of
from api.problems import documented
from factory_runtime.domain.access import Right
from factory_runtime.domain.errors import FactoryError, ForbiddenError, StoreUnavailableError
from factory_runtime.domain.health import RUN_STORE, Finding, Health
from factory_runtime.services.visible import require_in
from factory_runtime.wire.health import HealthAnswer, SignAnswer

router = APIRouter(tags=["operations"])

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format.",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "factory_run_store_up 1\n"}
        },
    },
    **documented(401, 403, 503),
}

_ADMINISTER = asynccontextmanager(Needs(Right.ADMINISTER).__call__)


@asynccontextmanager
async def _admitted(request: Request, api: Api) -> AsyncGenerator[None]:
    """Lets in who administers the factory's own tenant: what is told is of all tenants."""
    async with _ADMINISTER(request) as who:
        if who.tenant_id != api.runtime.settings.tenant:
            raise ForbiddenError("how the factory is, is for who administers its own tenant")
        require_in(who, Right.ADMINISTER, None)
        yield


@router.get(
    "/health",
    response_model_exclude_none=True,
    responses={503: {"model": HealthAnswer, "description": "The run store is away."}},
)
async def get_health(request: Request, response: Response, api: Here) -> HealthAnswer:
    """How the parts are; ``details`` says why, to administrators of the factory's own tenant.

    It is ``degraded`` where a part is not as it should be and the rest goes on, and ``unhealthy``,
    with 503, where the run store is away: nothing goes on without it.
    """
    found = await look_at_all(api.runtime.health)
    answer = HealthAnswer.of(found, in_detail=await _may_see_why(request, api, found))
    if answer.status is Health.UNHEALTHY:
        response.status_code = 503
    return answer


@router.get("/health/live")
async def get_life() -> SignAnswer:
    """This process answers. Where it does not, start another in its place."""
    return SignAnswer(status=Health.HEALTHY)


@router.get(
    "/health/ready",
    responses={503: {"model": SignAnswer, "description": "The run store is away."}},
)
async def get_readiness(response: Response, api: Here) -> SignAnswer:
    """The run store answers, and has the tables of this release: requests may be sent here."""
    if await is_store_there(api.runtime.health):
        return SignAnswer(status=Health.HEALTHY)
    response.status_code = 503
    return SignAnswer(status=Health.UNHEALTHY)


@router.get("/metrics", responses=_TEXT, response_class=Response)
async def get_metrics(request: Request, api: Here) -> Response:
    """Numbers for Prometheus, of all tenants.

    To whoever shows ``FACTORY_METRICS_TOKEN``, and to administrators of the factory's own tenant.
    """
    if not _shows_token(request, api):
        if not await is_store_there(api.runtime.health):
            raise StoreUnavailableError("the run store does not answer, which knows who may read")
        async with _admitted(request, api):
            pass
    text = await asyncio.to_thread(generate_latest, numbers_of(api.runtime))
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _shows_token(request: Request, api: Api) -> bool:
    token = api.runtime.settings.metrics_token
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    if token is None or kind.lower() != "bearer":
        return False
    return hmac.compare_digest(shown.encode(), token.get_secret_value().encode())


async def _may_see_why(request: Request, api: Api, found: Mapping[str, Finding]) -> bool:
    """Whether an administrator asks. Nobody is asked for a credential, or counted without one."""
    embedded = api.runtime.settings.database_url is None
    if not (embedded or "authorization" in request.headers):
        return False
    if found[RUN_STORE].health is Health.UNHEALTHY:
        return False  # who it is may be written there
    try:
        async with _admitted(request, api):
            return True
    except FactoryError:
        return False

"""The Factory API: an application over one runtime."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from fastapi import FastAPI

from api import problems
from api.access import FromAddress
from api.context import Api, Authenticator
from api.credentials import Credentials
from api.etags import ETags
from api.gate import StoreGate
from api.health import is_store_there
from api.limits import BodyLimit, Limiter
from api.loopback import LoopbackOwner, has_owner
from api.measure import Measured
from api.openapi import document
from api.problems import documented
from api.routes import (
    approvals,
    artifact_links,
    artifacts,
    audit,
    callbacks,
    dead_letters,
    dead_letters_bulk,
    docs,
    effects,
    health,
    holds,
    keys,
    memory,
    memory_documents,
    memory_forget,
    run_events,
    run_parts,
    runs,
    runs_bulk,
    runs_steering,
    templates,
    webhooks,
)
from api.strict_json import StrictJson
from api.tokens import Tokens
from api.tracing import UNTOLD, trace_requests
from factory_runtime.bootstrap import Runtime
from factory_runtime.run_store.pool_metrics import count_connections
from factory_runtime.services.key_ring import KeyRing
from factory_runtime.wire.paths import API_PREFIX

_ROUTERS = (
    runs_bulk.router,  # before what takes any word for a run's id
    runs_steering.router,
    run_events.router,
    run_parts.router,
    runs.router,
    health.router,
    dead_letters_bulk.router,  # likewise, before a letter's id
    dead_letters_bulk.orders,
    dead_letters.router,
    approvals.router,
    effects.router,
    templates.router,
    artifacts.router,
    holds.router,
    artifact_links.router,
    audit.router,
    memory.router,
    memory_documents.router,
    memory_forget.router,
    webhooks.router,
    callbacks.router,
    keys.router,
    docs.router,
)
_WITHOUT_STORE = tuple(
    f"{prefix}{path}" for prefix in ("", API_PREFIX) for path in ("/health", "/metrics")
)
_EVERYWHERE = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503)


def create_app(runtime: Runtime, authenticators: Sequence[Authenticator] | None = None) -> FastAPI:
    """The application.

    Args:
        runtime: what it serves; opened where a request first needs it.
        authenticators: instead of those that the settings ask for.
    """
    app = FastAPI(
        title="Factory Runtime",
        summary="A software factory: templates become repositories, recorded and remembered.",
        version=version("factory-runtime"),
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,  # ours needs nothing of other hosts: api/routes/docs.py
        redoc_url=None,
        responses=documented(*_EVERYWHERE),
        separate_input_output_schemas=False,
        telemetry=UNTOLD,
    )
    found = authenticators_of(runtime) if authenticators is None else authenticators
    app.state.api = Api(runtime, Limiter(runtime.settings), tuple(found))
    problems.install(app)
    for router in _ROUTERS:
        app.include_router(router, prefix=API_PREFIX)
    app.include_router(health.router, include_in_schema=False)  # where probes look for it
    document(app)
    app.add_middleware(ETags)
    app.add_middleware(StrictJson, beside=f"{API_PREFIX}/webhooks/")
    app.add_middleware(BodyLimit, limit=runtime.settings.api_body_kib * 1024)
    app.add_middleware(
        StoreGate, is_there=lambda: is_store_there(runtime.health), beside=_WITHOUT_STORE
    )
    app.add_middleware(FromAddress)
    app.add_middleware(Measured)
    trace_requests(app)
    count_connections(runtime.settings.run_store_url, runtime.settings.database_connections)
    return app


def authenticators_of(runtime: Runtime) -> tuple[Authenticator, ...]:
    """Ways of showing who asks, as the settings have them."""
    settings = runtime.settings
    keys = KeyRing(lambda: runtime.store, runtime.clock)
    shown = Credentials(keys, Tokens(settings.oidc_issuers))
    return (shown, LoopbackOwner(settings.tenant)) if has_owner(settings) else (shown,)

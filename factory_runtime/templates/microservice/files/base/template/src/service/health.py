"""The two probes: is the process alive, and can it do its work."""

from collections.abc import Callable

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from service import __version__

router = APIRouter(tags=["probes"])
log = structlog.get_logger(__name__)


@router.get("/health")
def health() -> dict[str, str]:
    """The process lives. It asks nobody else, so that a slow database restarts nothing."""
    return {"status": "ok", "version": __version__}


@router.get("/ready", responses={503: {"description": "A check failed"}})
def ready(request: Request) -> JSONResponse:
    """Every check passes; otherwise 503, and no traffic should come here."""
    found = {name: _passes(name, check) for name, check in request.app.state.checks.items()}
    ok = all(found.values())
    checks = {name: "ok" if passed else "failed" for name, passed in found.items()}
    content = {"status": "ready" if ok else "unavailable", "checks": checks}
    return JSONResponse(content, status_code=200 if ok else 503)


def _passes(name: str, check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception:  # whatever it is, the answer is the same: not ready
        log.warning("readiness check failed", check=name, exc_info=True)
        return False
    return True

"""The API over a factory whose jobs do nothing, and clients of it for whoever a test names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute

import api.app
from api.app import create_app
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.run import Run
from factory_runtime.ports import RunStore
from factory_runtime.settings import Settings
from tests.small_factory import Act, Paint

BOX_KEY = Fernet.generate_key().decode()
TEMPLATE = """
id: {name}
version: 1.0.0
title: {name}
description: A template of tests.
inputs:
  type: object
  properties:
    service_name: {{type: string, pattern: "^[a-z][a-z0-9-]{{1,38}}$"}}
    size: {{type: integer, minimum: 1}}
steps:
  - {{name: make, type: act, with: {{text: "${{{{ inputs.service_name }}}}"}}}}
  - {{name: check, type: act, needs: [make]}}
outputs: {{made: "${{{{ steps.make.outputs.text }}}}"}}
"""


_included: dict[object, BaseRoute] = {}


class _Application(FastAPI):
    """Shares the routes of all applications of this process.

    What a route takes and gives is worked out anew in each. That takes longer than most tests, and
    many make several.
    """

    def include_router(self, router: APIRouter, *args: Any, **options: Any) -> None:
        asked = (id(router), args, *options.items())
        if asked in _included:
            self.router.routes.append(_included[asked])
        else:
            super().include_router(router, *args, **options)
            _included[asked] = self.router.routes[-1]


api.app.FastAPI = _Application


class Told:
    """An authenticator that believes: a token is whoever a test has said it is."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}

    def recall(self, request: Request) -> Principal | None:
        return None

    def find(self, request: Request) -> Principal | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return self.known.get(token) if kind in ("Told", "Bearer") else None


class ApiSite:
    """The application, its runtime, and clients.

    Attributes:
        headers: of a principal, by the token that ``principal`` gave.
    """

    def __init__(self, folder: Path, url: str, store: RunStore, **settings: Any) -> None:
        self.templates = folder / "templates"
        self.templates.mkdir()
        own: dict[str, Any] = {"secret_keys": (BOX_KEY,), **settings}
        self.runtime = Runtime(
            Settings(
                home=folder / "home",
                database_url=url,
                template_folders=(self.templates,),
                **own,
            ),
            SystemClock(),
            own_job_types={"act": Act({}), "paint": Paint({})},
        )
        self.runtime.__dict__["store"] = store  # one that is open already
        self.told = Told()
        self.template("service")

    @property
    def store(self) -> RunStore:
        return self.runtime.store

    def template(self, name: str, text: str = TEMPLATE) -> None:
        place = self.templates / name
        place.mkdir(exist_ok=True)
        (place / "template.yaml").write_text(text.format(name=name))

    def app(self) -> FastAPI:
        return create_app(self.runtime, (self.told,))

    def client(self, principal: Principal | None = None, app: FastAPI | None = None) -> TestClient:
        """A client that comes as this principal, or as nobody; to an application of its own."""
        headers = dict[str, str]()
        if principal is not None:
            headers["Authorization"] = f"Told {self.token(principal)}"
        # What a bug raises is an answer too, as it is for everybody.
        return TestClient(app or self.app(), headers=headers, raise_server_exceptions=False)

    def token(self, principal: Principal) -> str:
        """What shows that it is they."""
        token = f"{principal.tenant_id}/{principal.name}/{len(self.told.known)}"
        self.told.known[token] = principal
        return token

    def run(self, client: TestClient, **asked: Any) -> str:
        """The id of a run that the client asks for."""
        body = {"templateRecipeId": "service", "inputs": {"service_name": "orders"}} | asked
        answer = client.post("/api/v1/runs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["runId"])

    def stands(self, tenant_id: str, run_id: str) -> Run:
        with self.store.begin(tenant_id, read_only=True) as tx:
            return tx.get_run(run_id)


def somebody(
    tenant_id: str = "acme",
    role: Role = Role.ADMIN,
    project_id: str | None = None,
    name: str = "ada",
) -> Principal:
    """Who has one role, in one project or in all."""
    return Principal(name, tenant_id, (Grant(role, project_id),))

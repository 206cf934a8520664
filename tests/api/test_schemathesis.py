"""All that the OpenAPI document allows, and some that it does not: asked, and answered as it says.

No answer is a 5xx, none has a status, a media type or a shape that the document does not name, and
what the document forbids is refused.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from factory_runtime.run_store import open_run_store
from factory_runtime.wire.paths import API_PREFIX
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody

_OFTEN = "1000000/second"
# What a schema allows may be refused all the same: there is no such template, the run has ended.
_UNSAID: list[Any] = [positive_data_acceptance]


@pytest.fixture(scope="module")
def asked_site(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite_file: Path
) -> Generator[ApiSite]:
    """One for all operations."""
    folder = tmp_path_factory.mktemp("asked")
    file = folder / "factory.db"
    file.write_bytes(migrated_sqlite_file.read_bytes())
    url = f"sqlite:///{file}"
    store = open_run_store(url)
    yield ApiSite(folder, url, store, api_rate=_OFTEN, api_tenant_rate=_OFTEN)
    store.close()


@pytest.fixture(scope="module")
def known(asked_site: ApiSite) -> Mapping[str, str]:
    """Names of what there is, for the places of addresses."""
    there = lay_out(asked_site, "shop")
    return {
        "runId": there.failed,
        "step": "make",
        "letterId": there.letter.id,
        "orderId": there.order.id,
        "approvalId": there.approval.id,
        "artifactId": there.artifact.id,
        "templateId": "service",
        "version": "1.0.0",
    }


@pytest.fixture(scope="module")
def operations(asked_site: ApiSite) -> list[Any]:
    schema: Any = schemathesis.openapi.from_asgi(f"{API_PREFIX}/openapi.json", asked_site.app())
    return [found.ok() for found in schema.get_all_operations()]


def ask(
    operation: Any,
    mode: GenerationMode,
    known: Mapping[str, str],
    headers: Mapping[str, str],
    examples: int,
) -> None:
    """Ask so often for what is there, with all else as the document says, or otherwise than it."""

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_there=st.booleans())
    def asked(case: Any, is_there: bool) -> None:
        if mode is GenerationMode.POSITIVE and is_there:
            case.path_parameters.update(
                {name: known[name] for name in case.path_parameters if name in known}
            )
        case.call_and_validate(headers=dict(headers), excluded_checks=_UNSAID)

    asked()


def ask_all(
    site: ApiSite,
    operations: list[Any],
    known: Mapping[str, str],
    subtests: Any,
    examples: int,
) -> None:
    headers = {"Authorization": site.client(somebody()).headers["Authorization"]}
    for operation in operations:
        told = (operation.path_parameters, operation.query, operation.headers, operation.body)
        # Who is told nothing cannot be told anything wrong.
        modes = GenerationMode if any(len(one) for one in told) else [GenerationMode.POSITIVE]
        for mode in modes:
            with subtests.test(f"{operation.label}, {mode.value}"):
                ask(operation, mode, known, headers, examples)


def test_every_operation_answers_as_documented(
    asked_site: ApiSite, operations: list[Any], known: Mapping[str, str], subtests: Any
) -> None:
    ask_all(asked_site, operations, known, subtests, 4)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_operation_answers_as_documented_however_often(
    asked_site: ApiSite, operations: list[Any], known: Mapping[str, str], subtests: Any
) -> None:
    ask_all(asked_site, operations, known, subtests, 100)

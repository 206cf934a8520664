"""All that the OpenAPI document allows, and some that it does not: asked, and answered as it says.

No answer is a 5xx, none has a status, a media type or a shape that the document does not name, and
what the document forbids is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from factory_runtime.wire.paths import API_PREFIX
from tests.api.laid_out import lay_out
from tests.api.site import ApiSite, somebody

_CHECKS: Any = checks
_HEALTH = (
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
)
# What a schema allows may be refused all the same: there is no such template, the run has ended.
_UNSAID = ["positive_data_acceptance"]


@pytest.fixture(scope="module")
def known(shared_site: ApiSite) -> Mapping[str, str]:
    """Names of what there is, for the places of addresses."""
    there = lay_out(shared_site, "shop")
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
def operations(shared_site: ApiSite) -> list[Any]:
    schema: Any = schemathesis.openapi.from_asgi(f"{API_PREFIX}/openapi.json", shared_site.app())
    return [found.ok() for found in schema.get_all_operations()]


def ask(
    operation: Any,
    mode: GenerationMode,
    known: Mapping[str, str],
    headers: Mapping[str, str],
    examples: int,
) -> None:
    """Ask so often for what is there, with all else as the document says, or otherwise than it."""

    unsaid = _CHECKS.CHECKS.get_by_names(_UNSAID)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=_HEALTH,
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_there=st.booleans())
    def asked(case: Any, is_there: bool) -> None:
        if mode is GenerationMode.POSITIVE and is_there:
            case.path_parameters.update(
                {name: known[name] for name in case.path_parameters if name in known}
            )
        case.call_and_validate(headers=dict(headers), excluded_checks=unsaid)

    asked()


def ask_all(
    site: ApiSite,
    operations: list[Any],
    known: Mapping[str, str],
    subtests: Any,
    examples: int,
) -> None:
    _CHECKS.load_all_checks()
    headers = {"Authorization": site.client(somebody()).headers["Authorization"]}
    for operation in operations:
        told = (operation.path_parameters, operation.query, operation.headers, operation.body)
        # Who is told nothing cannot be told anything wrong.
        modes = GenerationMode if any(len(one) for one in told) else [GenerationMode.POSITIVE]
        for mode in modes:
            with subtests.test(f"{operation.label}, {mode.value}"):
                ask(operation, mode, known, headers, examples)


def test_every_operation_answers_as_documented(
    shared_site: ApiSite, operations: list[Any], known: Mapping[str, str], subtests: Any
) -> None:
    ask_all(shared_site, operations, known, subtests, 4)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_every_operation_answers_as_documented_however_often(
    shared_site: ApiSite, operations: list[Any], known: Mapping[str, str], subtests: Any
) -> None:
    ask_all(shared_site, operations, known, subtests, 100)

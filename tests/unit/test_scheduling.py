"""How tests are shared out to workers."""

from __future__ import annotations

import pytest

from tests.scheduling import scope_of


def test_those_that_share_a_stack_stay_together_and_so_do_those_of_a_file():
    assert scope_of("tests/flows/test_a.py::test") == scope_of("tests/flows/test_b.py::test")
    assert scope_of("tests/unit/test_a.py::test[x::y]") == "tests/unit/test_a.py"
    assert scope_of("tests/recovery/test_chaos.py::test") == "tests/recovery/test_chaos.py"


def test_whoever_uses_the_stack_of_the_recovery_tests_is_known_to(request: pytest.FixtureRequest):
    for item in request.session.items:
        wanted: set[str] = set(getattr(item, "fixturenames", ()))
        if item.nodeid.startswith("tests/recovery/") and wanted & {"nursery", "prefect"}:
            assert scope_of(item.nodeid) == "tests/recovery", "it would be started once more"

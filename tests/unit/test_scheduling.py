"""How tests are shared out to workers."""

from __future__ import annotations

import pytest

from tests.scheduling import scope_of, twins


def test_those_that_share_a_stack_stay_together_and_so_do_those_of_a_file():
    assert scope_of("tests/flows/test_a.py::test") == scope_of("tests/flows/test_b.py::test")
    assert scope_of("tests/unit/test_a.py::test[x::y]") == "tests/unit/test_a.py"
    assert scope_of("tests/recovery/test_chaos.py::test") == "tests/recovery/test_chaos.py"


def test_whoever_uses_the_stack_of_the_recovery_tests_is_known_to(request: pytest.FixtureRequest):
    for item in request.session.items:
        wanted: set[str] = set(getattr(item, "fixturenames", ()))
        if item.nodeid.startswith("tests/recovery/") and wanted & {"nursery", "prefect"}:
            assert scope_of(item.nodeid) == "tests/recovery", "it would be started once more"


def test_of_twins_one_is_left_always_the_same_and_not_always_on_one_database():
    of_one = [[f"tests/test_a.py::test_{n}[{db}]" for db in ("sqlite", "postgres")] for n in "abcd"]
    left = [set(pair) - twins(pair) for pair in of_one]
    assert [len(one) for one in left] == [1] * 4
    assert {name.partition("[")[2] for one in left for name in one} == {"sqlite]", "postgres]"}
    assert twins(name for pair in of_one for name in pair) == set().union(*map(twins, of_one))


def test_what_is_no_twin_is_left():
    alone = [
        "test_sqlite_and_more",
        "test[postgres]",
        "test[1]",
        "test[2]",
        "test[sqlite-x][memory]",
    ]
    assert twins(alone) == set()
    assert len(twins(["test[sqlite-1]", "test[postgres-1]", "test[sqlite-2]"])) == 1

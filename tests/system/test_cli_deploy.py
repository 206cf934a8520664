"""`factory deploy` without a Prefect server; with one, see the tests of automations."""

from __future__ import annotations

import pytest

from tests.cli_home import Factory


def test_without_a_server_it_says_how_to_have_one(factory: Factory) -> None:
    said = factory("deploy", "automations", "--json")
    assert said.code == 5
    assert "no Prefect server is up" in said.error["message"]
    assert "factory up" in said.error["hint"]


@pytest.mark.parametrize("options", [("--on", "x"), ("--run", "a/b"), ("--set", "n=1")])
def test_what_is_said_by_halves_is_refused_before_anything_is_asked(
    factory: Factory, options: tuple[str, ...]
) -> None:
    said = factory("deploy", "automations", *options)
    assert said.code == 2
    assert "belong together" in said.err

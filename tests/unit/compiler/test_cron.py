"""Cron expressions: what a scheduler can keep to, and what it would stumble over."""

from __future__ import annotations

import pytest

from factory_runtime.compiler.cron import cron_problem


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "0 6 * * 1-5",
        "*/15 0,12 1-7 JAN-mar Mon",
        "5/15 22-23 * * 0,7",
        "0 0 29 2 *",
        "0 0 31 2,3 *",
        "0 0 30 2 mon",  # or every Monday of February
    ],
)
def test_a_cron_expression_names_times_that_come(cron: str) -> None:
    assert cron_problem(cron) is None


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "0 fields"),
        ("daily", "1 fields"),
        ("@daily", "1 fields"),
        ("* * * * * *", "6 fields"),
        ("60 * * * *", "minute '60'"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "weekday '8'"),
        ("* * * mon *", "month 'mon'"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("１ * * * *", "minute"),
        ("* * L * *", "day 'L'"),
        ("99999999999999999999 * * * *", "minute"),
        ("* * 30 2 *", "no such month"),
        ("* * 31 4,6,9 *", "no such month"),
    ],
)
def test_what_is_wrong_with_a_cron_expression_is_said(cron: str, said: str) -> None:
    assert said in str(cron_problem(cron))

from __future__ import annotations

from typing import Any

import pytest

from factory_runtime.compiler.values import Meter
from factory_runtime.compiler.work import one_work

LOOKED_AT: list[tuple[Any, int]] = [
    (["name"] * 320, 11),
    ([1, 2.5, True, None] * 80, 11),
    ({str(number): number for number in range(320)}, 11),
    (["a" * 255] * 320, 11),
    (["a" * 512] * 320, 651),
    ([[]] * 320, 331),
    ([{"a": ["name"] * 64}] * 32, 130),
    ("a" * 2560, 11),
]


@pytest.mark.parametrize(("value", "steps"), LOOKED_AT)
def test_plain_values_are_looked_through_together_and_what_holds_others_one_by_one(
    value: Any, steps: int
):
    with one_work() as work:
        before = work.left
        Meter().look_at(value)
        assert before - work.left == steps

"""The operator's page of policies says what the reader of them does."""

from __future__ import annotations

import re
from pathlib import Path

from factory_runtime.compiler.policy_file import POLICY_KEYS, load_policy

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
(EXAMPLE,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pages_example_is_in_order_and_has_every_key():
    policy = load_policy(EXAMPLE.encode(), "policy.md", "the page")
    assert set(re.findall(r"^(\w+):", EXAMPLE, re.MULTILINE)) == set(POLICY_KEYS)
    assert [rule.name for rule in policy.approvals] == ["production"]
    assert policy.limits.topics == {"documentation": 2}

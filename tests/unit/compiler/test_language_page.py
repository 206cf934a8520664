"""The author's page says what the compiler does."""

from __future__ import annotations

import re
from pathlib import Path

from factory_runtime.compiler.conditions import TESTS
from factory_runtime.compiler.filters import FILTERS
from factory_runtime.compiler.load import TEMPLATE_KEYS
from factory_runtime.compiler.steps import STEP_KEYS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "template-language.md").read_text()


def listed(start: str) -> list[str]:
    """The names in backquotes of the list item that begins like this."""
    item = PAGE.split(start)[1].split("\n- ")[0]
    return re.findall(r"`([a-z]+)`", item)


def test_every_filter_and_test_is_on_the_page():
    assert listed("- Filters:") == sorted(FILTERS)
    assert listed("- Tests:") == sorted(name for name in TESTS if name.isalpha())


def test_every_key_is_on_the_page():
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named.issuperset([*TEMPLATE_KEYS, *STEP_KEYS])


def test_every_code_is_on_the_page():
    source = "".join(p.read_text() for p in (ROOT / "factory_runtime" / "compiler").glob("*.py"))
    table = PAGE.split("## Codes")[1]
    used = set(
        re.findall(
            r'"((?:yaml|unknown|missing|duplicate|hostile|too|bad|not)-[a-z-]+|cycle|schema)"',
            source,
        )
    )
    assert len(used) > 20
    assert {code for code in used if f"`{code}`" not in table} == set()

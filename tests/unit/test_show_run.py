"""What somebody wrote, as it stands in the summary that Prefect shows."""

from __future__ import annotations

from uuid import uuid4

import pytest

from factory_runtime.domain.run import RunStatus
from factory_runtime.orchestration import show_run
from factory_runtime.orchestration.show_run import summary_of
from tests.builders import a_run


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[click](http://evil)", r"\[click\](http://evil)"),
        ("a | b", r"a \| b"),
        ("one\n# two", r"one<br>\# two"),
        ('it\'s "so" & so', 'it\'s "so" &amp; so'),
    ],
)
def test_what_somebody_wrote_is_shown_as_text(written: str, shown: str):
    run = a_run(status=RunStatus.FAILED, error=written)
    assert summary_of(run, []).splitlines()[-1] == f"**{shown}**"


def test_a_template_of_any_name_is_shown_under_a_key_that_prefect_takes():
    run = a_run(template_id="fall.back_2")
    shown = show_run._wanted(run, [], [], uuid4())  # pyright: ignore[reportPrivateUsage] - a server says no more
    assert [one.key for one in shown] == ["fall-back-2-summary", "fall-back-2-artifacts"]

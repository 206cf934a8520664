"""`factory prove report`: killed anywhere, a report is the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.test_prove import Prover

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(600)]


def test_a_report_of_a_sample_is_proved(tmp_path: Path) -> None:
    prover = Prover(tmp_path)
    sources = [{"name": "sales", "location": "sample:sales.csv"}]
    proved = prover.prove("report", {"sources": sources}, "--point", "before-commit")
    jobs = {"fetch[sales]", "analyse", "draw[sales]", "write-pdf", "write-html"}
    assert {job for job, point, _ in proved.rows if point == "before-commit"} == jobs
    assert (proved.code, proved.document["failed"]) == (0, 0)
    assert proved.document["varying"] == []
    assert proved.litter == []

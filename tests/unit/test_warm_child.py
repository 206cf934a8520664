"""A warm process that no run could be executed by ends, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments import warm_child
from factory_runtime.bootstrap import Runtime


def test_a_route_that_is_none_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path))
    monkeypatch.setenv("FACTORY_JOB_ROUTES", '{"no-such-type": "pool/queue"}')

    def keep_to_itself(runtime: Runtime) -> None:
        del runtime

    monkeypatch.setattr(warm_child, "share_runtime", keep_to_itself)
    with pytest.raises(SystemExit, match="FACTORY_JOB_ROUTES: no job type is called"):
        warm_child._open_what_runs_need()  # pyright: ignore[reportPrivateUsage] - the rest serves

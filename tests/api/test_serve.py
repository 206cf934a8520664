"""Serving as several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.serve import Place, serve
from factory_runtime.domain.errors import SettingsError
from factory_runtime.settings import Settings


def test_settings_that_no_process_can_serve_by_are_refused_before_any_is_started(tmp_path: Path):
    with pytest.raises(SettingsError, match="FACTORY_API_RATE"):
        serve(Settings(home=tmp_path, api_rate="often"), Place("127.0.0.1", 0, processes=2))

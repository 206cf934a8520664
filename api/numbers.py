"""The factory's numbers: for ``GET /metrics``, and for an OTLP endpoint where one is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from factory_runtime.bootstrap import Runtime
from factory_runtime.telemetry.metrics import collectors
from factory_runtime.telemetry.otlp import is_wanted, opened

if TYPE_CHECKING:
    from factory_runtime.telemetry.metric_export import MetricExport

_export: MetricExport | None = None


def numbers_of(runtime: Runtime) -> CollectorRegistry:
    """All of them; they are counted, and the store is asked, when they are read."""
    registry = CollectorRegistry()
    for collector in (*collectors(), runtime.store_metrics):
        registry.register(collector)
    return registry


def export_numbers(runtime: Runtime) -> None:
    """Have this process send them now and then, where the environment says where to."""
    global _export
    if not is_wanted("metrics"):
        return
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")

    def export() -> MetricExport:
        from factory_runtime.telemetry.metric_export import MetricExport

        return MetricExport(numbers_of(runtime).collect, Path(folder) if folder else None)

    _export = opened("metrics", export)


def flush_numbers() -> None:
    """Send them once more, and take not long: for processes that end without their exit hooks."""
    if _export is not None:
        _export.close()

"""Upkeep: the outbox, what is stuck, the audit's seals, health and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.bootstrap.runs import RunParts
from factory_runtime.telemetry import worker_name

if TYPE_CHECKING:
    from factory_runtime.services.drain_outbox import Drained
    from factory_runtime.services.health import FactoryHealth
    from factory_runtime.services.store_metrics import StoreMetrics
    from factory_runtime.services.sweep_artifacts import ArtifactSweeper


class UpkeepParts(RunParts):
    """What is done again and again, and what tells how it goes."""

    def drain(self, shown: Mapping[str, Callable[[Any], None]] = MappingProxyType({})) -> Drained:
        """Handle what the outbox holds, but for what runs have taught: that is for ``learn``.

        Args:
            shown: Prefect's part of it, where it is there.
        """
        from factory_runtime.services import topics
        from factory_runtime.services.drain_outbox import drain_outbox
        from factory_runtime.services.settle_effects import EffectSettler
        from factory_runtime.services.stop_outside import OutsideStopper

        settler = EffectSettler(self.store, self.host, self.job_types, self.clock)
        stopper = OutsideStopper(self.store, self.host, self.job_types, self.clock)

        handlers: dict[str, Callable[[Any], None]] = {
            **self.asked_handlers,
            topics.SETTLE_EFFECTS: settler.settle,
            topics.STOP_OUTSIDE: stopper.stop,
            topics.UNDO_RUN: self.undoer.begin,
            topics.TAKE_INVENTORY: self.inventory.take,
            topics.GO_ON_REDRIVING: lambda message: self.redriver.handle(message),
            **shown,
        }
        return drain_outbox(self.store, self.clock, handlers, worker_name())

    @opened_once
    def artifact_sweeper(self) -> ArtifactSweeper:
        """Deletes the bodies of what has expired."""
        from factory_runtime.services.sweep_artifacts import ArtifactSweeper

        return ArtifactSweeper(self.store, self.bare_storage, self.clock)

    def look_for_stuck(self) -> int:
        """Leave notices of runs in which nothing happens any more; how many there are."""
        from factory_runtime.services.stuck import tell_stuck

        quiet, cap = timedelta(minutes=self.settings.stuck_minutes), self.settings.max_running_runs
        return tell_stuck(self.store, self.clock, quiet, cap, self.policies.limits_of)

    def seal_audit(self) -> int:
        """Close the audit's chains over what it has got since; how many entries."""
        from factory_runtime.services.seal_audit import seal_audit

        return seal_audit(self.store, self.clock)

    @opened_once
    def health(self) -> FactoryHealth:
        """Looks at the parts."""
        from factory_runtime.memory.lance.faults import check_place
        from factory_runtime.orchestration.server_health import ServerHealth
        from factory_runtime.services.health import FactoryHealth, check_storage

        settings = self.settings
        checks = {
            "orchestrator": ServerHealth(settings.prefect_api_url).check,
            "knowledgeSystem": lambda: check_place(self.memory_place),
            "artifactStorage": lambda: check_storage(self.bare_storage, settings.tenant),
        }
        return FactoryHealth(
            lambda: self.store, self.clock, checks, lambda: self.memory_disk.complaint()
        )

    @opened_once
    def store_metrics(self) -> StoreMetrics:
        """Tells Prometheus what is in the store."""
        from factory_runtime.services.store_metrics import StoreMetrics

        disk = self.memory_disk
        return StoreMetrics(
            lambda: self.store,
            self.clock,
            lambda: self.catalog.names(),
            lambda: (disk.used(), disk.limit),
        )

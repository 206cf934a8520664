"""Runs: how they are requested, launched, carried out, redriven and undone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.bootstrap.templates import TemplateParts
from factory_runtime.ports import Launcher
from factory_runtime.telemetry import environment_name, worker_name
from factory_runtime.telemetry.tracing import start_tracing

if TYPE_CHECKING:
    from factory_runtime.domain.route import Route
    from factory_runtime.services.engine import Engine
    from factory_runtime.services.inventory import Inventory
    from factory_runtime.services.read_standing import Onlooker
    from factory_runtime.services.redrive import Redriver
    from factory_runtime.services.request_desk import RequestDesk
    from factory_runtime.services.undo_run import Undoer


class RunParts(TemplateParts):
    """What makes runs and carries them out."""

    @opened_once
    def desk(self) -> RequestDesk:
        from factory_runtime.services.request_desk import RequestDesk

        start_tracing()
        return RequestDesk(
            self.store,
            self.storage,
            self.catalog,
            self.clock,
            self.policies,
            find_effect=lambda type_name, effect: self.inventory.find(type_name, effect),
            find_memories=lambda tenant_id, ids, projects: self.recaller.find(
                tenant_id, ids, projects
            ),
        )

    @opened_once
    def engine(self) -> Engine:
        from factory_runtime.orchestration.credential_blocks import CredentialBlocks
        from factory_runtime.services.engine import Engine
        from factory_runtime.services.run_page import RunPages

        profile = "embedded" if self.settings.database_url is None else "production"
        return Engine(
            store=self.store,
            storage=self.storage,
            host=self.host,
            job_types=self.job_types,
            clock=self.clock,
            worker=worker_name(),
            environment=environment_name(profile),
            lease=timedelta(seconds=self.settings.lease_seconds),
            limits_of=self.policies.limits_of,
            expiry_of=self.policies.expiry_of,
            topic_caps=self.settings.topic_caps,
            credentials=CredentialBlocks(),
            routes={name: str(route) for name, route in self.routes.items()},
            recall=lambda tenant_id, query: self.recaller.recall(tenant_id, query),
            pages=RunPages(self.settings.run_page, self.settings.public_url),
        )

    @opened_once
    def routes(self) -> Mapping[str, Route]:
        """The queues of Prefect's that jobs are sent to, by type.

        Raises:
            SettingsError: one of them is none, or is for a type that is not there or asks people.
        """
        from factory_runtime.jobs.routes import check_routes

        return check_routes(self.settings.job_routes, self.job_types)

    @opened_once
    def launcher(self) -> Launcher:
        """Asks Prefect. Importing its client takes seconds."""
        from factory_runtime.orchestration.launch import PrefectLauncher

        return PrefectLauncher(self.inputs_of)

    @opened_once
    def redriver(self) -> Redriver:
        from factory_runtime.services.redrive import Redriver

        return Redriver(self.store, self.clock, self.desk)

    @opened_once
    def undoer(self) -> Undoer:
        """Makes the runs that undo others."""
        from factory_runtime.services.undo_run import Undoer

        return Undoer(self.store, self.storage, self.clock)

    @opened_once
    def inventory(self) -> Inventory:
        """Settles what is left of undone runs."""
        from factory_runtime.services.inventory import Inventory

        return Inventory(self.store, self.storage, self.host, self.job_types, self.clock)

    def has_render(self, tenant_id: str, key: str) -> bool:
        """Whether the cache holds a render of this key whose tree is still there."""
        from factory_runtime.orchestration.render_cache import cached_tree

        results = self.settings.prefect_folder / "results"
        digest = cached_tree(results, key, self.clock.now())
        return digest is not None and self.storage.exists(tenant_id, digest)

    def onlooker(self, *, executed: bool) -> Onlooker:
        """Where to look for why runs stand where they do."""
        from factory_runtime.services.read_standing import Onlooker

        def hosts_of(job_type: str) -> Collection[str]:
            known = self.job_types.get(job_type)
            return () if known is None else known.facts.hosts

        return Onlooker(
            store=self.store,
            cap=self.settings.max_running_runs,
            limits_of=self.policies.limits_of,
            topic_caps=self.settings.topic_caps,
            hosts_of=hosts_of,
            executed=executed,
        )

"""Opens the adapters and returns one Runtime. Each is opened where it is first used.

Reading commands must answer at once, so nothing heavy (job types, compiler, LanceDB) is imported
before something asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.errors import SettingsError, StorageFullError
from factory_runtime.ports import (
    ArtifactStorage,
    Clock,
    Cutter,
    Embedder,
    GitHost,
    JobType,
    Launcher,
    MemoryIndex,
    RunStore,
)
from factory_runtime.settings import Settings
from factory_runtime.telemetry import environment_name, worker_name
from factory_runtime.telemetry.tracing import start_tracing

if TYPE_CHECKING:
    from factory_runtime.domain.route import Route
    from factory_runtime.domain.run import Run
    from factory_runtime.memory.disk import MemoryDisk
    from factory_runtime.memory.lance import Place
    from factory_runtime.ports.summariser import Summariser
    from factory_runtime.services.callbacks import Callbacks
    from factory_runtime.services.catalog import TemplateCatalog
    from factory_runtime.services.context_package import ContextDesk
    from factory_runtime.services.drain_outbox import Drained
    from factory_runtime.services.engine import Engine
    from factory_runtime.services.forget_memory import Forgetter
    from factory_runtime.services.health import FactoryHealth
    from factory_runtime.services.index_memory import Indexer
    from factory_runtime.services.inventory import Inventory
    from factory_runtime.services.kept_templates import KeptTemplates
    from factory_runtime.services.lanes import Lanes
    from factory_runtime.services.memory_models import Models
    from factory_runtime.services.migrate_memory import Migrator
    from factory_runtime.services.policy import PolicyBook
    from factory_runtime.services.publish_template import Publisher
    from factory_runtime.services.read_standing import Onlooker
    from factory_runtime.services.rebuild_memory import Rebuilder
    from factory_runtime.services.recall import Recaller
    from factory_runtime.services.redrive import Redriver
    from factory_runtime.services.request_desk import RequestDesk
    from factory_runtime.services.secret_box import SecretBox
    from factory_runtime.services.send_notices import NoticeSender
    from factory_runtime.services.store_metrics import StoreMetrics
    from factory_runtime.services.suggest_template import Suggester
    from factory_runtime.services.undo_run import Undoer
    from factory_runtime.services.webhook_sources import WebhookSources
    from factory_runtime.services.webhooks import WebhookDesk
    from factory_runtime.services.write_prose import Written


class SystemClock:
    """The time of this machine, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Runtime:
    """Everything that a door or a flow needs, opened when it is asked for.

    Attributes:
        own_job_types: used instead of those that installed packages offer.
    """

    settings: Settings
    clock: Clock
    own_job_types: Mapping[str, JobType] | None = None

    @cached_property
    def job_types(self) -> Mapping[str, JobType]:
        """The job types to use: those given, else all that installed packages offer."""
        if self.own_job_types is not None:
            return self.own_job_types
        from factory_runtime.jobs.registry import job_types

        return job_types(self.settings.job_types)

    @cached_property
    def store(self) -> RunStore:
        from factory_runtime.run_store import open_run_store

        make_home(self.settings)
        settings = self.settings
        statement_wait = timedelta(seconds=settings.database_statement_seconds)
        return open_run_store(settings.run_store_url, settings.database_connections, statement_wait)

    def find_store(self) -> RunStore | None:
        """The run store, but for one below ``FACTORY_HOME`` that nothing has been written to yet."""
        is_new = self.settings.database_url is None and not self.settings.database_file.exists()
        return None if is_new else self.store

    @cached_property
    def storage(self) -> ArtifactStorage:
        return LocalArtifactStorage(self.settings.artifacts_folder)

    @cached_property
    def host(self) -> GitHost:
        from factory_runtime.hosts.local import LocalGitHost

        return LocalGitHost(self.settings.git_folder)

    @cached_property
    def embedder(self) -> Embedder:
        return self.open_embedder(self.settings.embedder)

    def open_embedder(self, name: str) -> Embedder:
        """The embedder of that name, always the same one: a tenant may have two models at once.

        Raises:
            SettingsError: no embedder is called so, or it lacks a setting.
        """
        from factory_runtime.memory.embedders.opened import open_embedder

        opened = self._embedders.get(name)
        if opened is None:
            opened = self._embedders.setdefault(name, open_embedder(name, self.settings))
        return opened

    @cached_property
    def _embedders(self) -> dict[str, Embedder]:
        return {}

    @cached_property
    def memory(self) -> MemoryIndex:
        """Of the vectors of the settings' embedder; a tenant's own may be another: see ``models``."""
        return self.open_memory(self.embedder)

    def open_memory(self, embedder: Embedder) -> MemoryIndex:
        """The index of an embedder's vectors."""
        from factory_runtime.memory.lance import LanceMemoryIndex

        return LanceMemoryIndex(self.memory_place, embedder)

    @cached_property
    def memory_place(self) -> Place:
        """Where the memory's index is.

        Raises:
            SettingsError: the settings of an address do not go together.
        """
        from factory_runtime.memory.lance.chosen import chosen_place

        return chosen_place(self.settings)

    @cached_property
    def models(self) -> Models:
        """The embedding models that tenants' memories have."""
        from factory_runtime.ports.memory import model_name
        from factory_runtime.services.memory_models import Models

        default = self.settings.embedder
        indexes: dict[str, MemoryIndex] = {}

        def open_embedder(name: str) -> Embedder:
            return self.embedder if name == default else self.open_embedder(name)

        def open_index(embedder: Embedder) -> MemoryIndex:
            name = model_name(embedder)
            if name not in indexes:
                indexes[name] = self.memory if is_default(name) else self.open_memory(embedder)
            return indexes[name]

        def is_default(name: str) -> bool:
            with suppress(SettingsError):  # another model goes on where the default's lacks a key
                return name == model_name(self.embedder)
            return False

        return Models(lambda: self.store, self.clock, default, open_embedder, open_index)

    @cached_property
    def recaller(self) -> Recaller:
        """Searches memories; an index is opened when there is something to look for."""
        from factory_runtime.services.recall import Recaller

        return Recaller(
            self.find_store,
            self.clock,
            lambda tenant_id: self.models.of(tenant_id).pair,
            self.settings.memory_shared_tenant,
            lambda tenant_id: self.policies.shared_memory_of(tenant_id),
        )

    @cached_property
    def context_desk(self) -> ContextDesk:
        """Puts together what is known about a task."""
        from factory_runtime.services.context_package import ContextDesk

        return ContextDesk(self.store, self.clock, self.recaller)

    @cached_property
    def suggester(self) -> Suggester:
        """Suggests templates."""
        from factory_runtime.services.suggest_template import Suggester

        def embedder_of(tenant_id: str) -> Embedder:
            # To look for a template makes no store where there is none.
            return self.models.of(tenant_id).embedder if self.find_store() else self.embedder

        return Suggester(self.catalog, self.recaller, self.policies.of, embedder_of)

    @cached_property
    def catalog(self) -> TemplateCatalog:
        from factory_runtime.services.catalog import TemplateCatalog

        return TemplateCatalog(
            self.settings.template_folders,
            {name: job_type.facts for name, job_type in self.job_types.items()},
            self.settings.source_roots,
            self.kept_templates,
        )

    @cached_property
    def kept_templates(self) -> KeptTemplates:
        from factory_runtime.jobs.render.limits import RenderLimits
        from factory_runtime.services.kept_templates import KeptTemplates

        folder, limits = self.settings.templates_folder, RenderLimits.from_settings(self.settings)
        return KeptTemplates(self.find_store, self.storage, folder, limits)

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes templates, from folders and from git hosts."""
        from factory_runtime.hosts.template_git import GitTemplates
        from factory_runtime.services.publish_template import Publisher

        repository = GitTemplates(self.settings.template_hosts, self.kept_templates.limits)
        return Publisher(self.store, self.storage, self.catalog, self.clock, repository)

    @cached_property
    def policies(self) -> PolicyBook:
        from factory_runtime.services.policy import PolicyBook

        folder = self.settings.policy_folder
        absolute = None if folder is None else folder.expanduser().absolute()
        return PolicyBook(self.find_store, absolute, self.clock)

    @cached_property
    def secret_box(self) -> SecretBox:
        """Seals secrets that are kept in the store."""
        from factory_runtime.services.secret_box import open_secret_box

        settings, file = self.settings, None
        if settings.database_url is None:
            make_home(settings)
            file = settings.root / "secret.key"
        return open_secret_box([key.get_secret_value() for key in settings.secret_keys], file)

    @cached_property
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

    @cached_property
    def webhook_sources(self) -> WebhookSources:
        from factory_runtime.services.webhook_sources import WebhookSources

        return WebhookSources(self.store, self.clock, lambda: self.secret_box)

    @cached_property
    def webhook_desk(self) -> WebhookDesk:
        """Takes what webhooks bring."""
        from factory_runtime.services.azure_resource import AzureResources
        from factory_runtime.services.webhook_runs import RunBeginner
        from factory_runtime.services.webhook_triggers import TriggerBook
        from factory_runtime.services.webhooks import WebhookDesk

        resources = AzureResources(self.settings.callback_hosts, lambda: self.secret_box)
        beginner = RunBeginner(self.desk, TriggerBook(self.catalog), resources)
        return WebhookDesk(self.webhook_sources, beginner, worker_name())

    @cached_property
    def deliveries(self) -> Lanes:
        """Decides the deliveries that their requests have not."""
        from factory_runtime.services.lanes import Lanes
        from factory_runtime.services.topics import DELIVERY
        from factory_runtime.services.webhooks import source_of

        return Lanes(
            self.store,
            self.clock,
            DELIVERY,
            source_of,
            lambda message: self.webhook_desk.finish(message),
            worker_name(),
        )

    @cached_property
    def callbacks(self) -> Callbacks:
        from factory_runtime.services.callbacks import Callbacks

        hosts = self.settings.callback_hosts
        return Callbacks(self.store, self.clock, hosts, lambda: self.secret_box)

    @cached_property
    def told_callbacks(self) -> Lanes:
        """Tells callbacks of ends."""
        from factory_runtime.services.lanes import Lanes
        from factory_runtime.services.send_callbacks import CallbackSender, host_of
        from factory_runtime.services.topics import CALLBACK

        send = CallbackSender(self.callbacks).send
        return Lanes(self.store, self.clock, CALLBACK, host_of, send, worker_name())

    @cached_property
    def redriver(self) -> Redriver:
        from factory_runtime.services.redrive import Redriver

        return Redriver(self.store, self.clock, self.desk)

    @cached_property
    def engine(self) -> Engine:
        from factory_runtime.orchestration.credential_blocks import CredentialBlocks
        from factory_runtime.services.engine import Engine

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
            topic_caps=self.settings.topic_caps,
            credentials=CredentialBlocks(),
            routes={name: str(route) for name, route in self.routes.items()},
            recall=lambda tenant_id, query: self.recaller.recall(tenant_id, query),
        )

    @cached_property
    def routes(self) -> Mapping[str, Route]:
        """The queues of Prefect's that jobs are sent to, by type.

        Raises:
            SettingsError: one of them is none, or is for a type that is not there or asks people.
        """
        from factory_runtime.jobs.routes import check_routes

        return check_routes(self.settings.job_routes, self.job_types)

    @cached_property
    def indexer(self) -> Indexer:
        """Brings the memory's indexes up to its records."""
        from factory_runtime.services.index_memory import Indexer

        return Indexer(self.store, self.clock, self.models, worker_name())

    @cached_property
    def forgetter(self) -> Forgetter:
        """Takes what was forgotten out of the memory's indexes."""
        from factory_runtime.services.forget_memory import Forgetter

        return Forgetter(self.store, self.clock, self.models, worker_name())

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """Makes the memory's indexes anew."""
        from factory_runtime.services.rebuild_memory import Rebuilder

        return Rebuilder(self.store, self.clock, self.models, worker_name())

    @cached_property
    def migrator(self) -> Migrator:
        """Changes the memory's embedding models."""
        from factory_runtime.services.migrate_memory import Migrator

        return Migrator(self.store, self.clock, self.models, worker_name())

    @property
    def memory_handlers(self) -> Mapping[str, Callable[[Any], None]]:
        """The memory's part of the outbox, but for what may take long: see ``learn_code``."""
        from factory_runtime.services.learn_run import Learner

        return {
            **Learner(self.store, self.storage, self.clock).handlers,
            **self.indexer.handlers,
            **self.forgetter.handlers,
            **self.migrator.handlers,
        }

    @cached_property
    def cutter(self) -> Cutter:
        """Cuts files into pieces."""
        from factory_runtime.memory.cutting.cutter import FileCutter

        return FileCutter()

    def learn(self) -> Drained:
        """Do the memory's part of the outbox, and index what is left."""
        from factory_runtime.services.drain_outbox import drain_outbox

        drained = drain_outbox(self.store, self.clock, self.memory_handlers, worker_name())
        self.indexer.catch_up_all()
        return drained

    def learn_code(self, stopping: Callable[[], bool] = lambda: False) -> Drained:
        """Learn what runs have generated: it may take long, and is for who waits for nothing.

        It ends early once ``stopping``, and goes on there the next time.
        """
        from factory_runtime.services.drain_outbox import drain_outbox
        from factory_runtime.services.learn_code import CodeLearner

        learner = CodeLearner(self.store, self.storage, self.clock, lambda: self.cutter, stopping)
        drained = drain_outbox(self.store, self.clock, learner.handlers, worker_name())
        self.indexer.catch_up_all()
        return drained

    def write_prose(self) -> Written:
        """Have a model write about what was learned, where one is named; for who waits for nothing."""
        from factory_runtime.services.write_prose import ProseWriter, Written

        if self.settings.summary_model is None:
            return Written()
        budget, worker = self.settings.summary_budget, worker_name()
        writer = ProseWriter(self.store, self.clock, lambda: self.summariser, budget, worker)
        written = writer.write_some()
        self.indexer.catch_up_all()
        return written

    @cached_property
    def summariser(self) -> Summariser:
        """The model that writes.

        Raises:
            SettingsError: none is named, or it lacks a setting.
        """
        from factory_runtime.memory.prose import open_summariser

        return open_summariser(self.settings)

    @cached_property
    def launcher(self) -> Launcher:
        """Asks Prefect. Importing its client takes seconds."""
        from factory_runtime.orchestration.launch import PrefectLauncher

        return PrefectLauncher(self.inputs_of)

    @cached_property
    def undoer(self) -> Undoer:
        """Makes the runs that undo others."""
        from factory_runtime.services.undo_run import Undoer

        return Undoer(self.store, self.storage, self.clock)

    @cached_property
    def inventory(self) -> Inventory:
        """Settles what is left of undone runs."""
        from factory_runtime.services.inventory import Inventory

        return Inventory(self.store, self.storage, self.host, self.job_types, self.clock)

    def drain(self, shown: Mapping[str, Callable[[Any], None]] = MappingProxyType({})) -> Drained:
        """Handle what the outbox holds; ``shown`` is Prefect's part of it, where it is there."""
        from factory_runtime.services import topics
        from factory_runtime.services.drain_outbox import drain_outbox
        from factory_runtime.services.index_memory import A_WHILE
        from factory_runtime.services.settle_effects import EffectSettler

        settler = EffectSettler(self.store, self.host, self.job_types, self.clock)

        handlers: dict[str, Callable[[Any], None]] = {
            **self.memory_handlers,
            topics.SETTLE_EFFECTS: settler.settle,
            topics.UNDO_RUN: self.undoer.begin,
            topics.TAKE_INVENTORY: self.inventory.take,
            topics.GO_ON_REDRIVING: lambda message: self.redriver.handle(message),
            **shown,
        }
        drained = drain_outbox(self.store, self.clock, handlers, worker_name())
        self.indexer.catch_up_all(A_WHILE)
        return drained

    @cached_property
    def notices(self) -> NoticeSender:
        """Sends notices. Prefect's events and the rest of the outbox are ``drain``'s."""
        from factory_runtime.notifications.notifier import AppriseNotifier
        from factory_runtime.orchestration.notification_blocks import NotificationBlocks
        from factory_runtime.services.send_notices import NoticeSender
        from factory_runtime.services.tell import Teller

        log_file = self.settings.stack_folder / "notices.log"
        notifier = AppriseNotifier(log_file, addresses=NotificationBlocks())
        rules_of = self.policies.notices_of
        teller = Teller(self.store, self.storage, self.clock, notifier, rules_of)
        return NoticeSender(self.store, self.clock, teller, worker_name())

    def tell(self, patience: timedelta = timedelta(0)) -> Drained:
        """Begin to send what waits for somebody outside, and wait so long for what comes of it.

        Those are notices, callbacks, and deliveries of webhooks that are not decided yet.
        """
        from factory_runtime.services.drain_outbox import Drained

        until = time.monotonic() + patience.total_seconds()
        senders = (self.notices, self.told_callbacks, self.deliveries)
        did = [sender.send_due() for sender in senders]
        for sender in senders:
            left = timedelta(seconds=max(0.0, until - time.monotonic()))
            did.append(sender.send_due(left))
        return Drained(sum(one.done for one in did), sum(one.failed for one in did))

    def look_for_stuck(self) -> int:
        """Leave notices of runs in which nothing happens any more; how many there are."""
        from factory_runtime.services.stuck import tell_stuck

        quiet, cap = timedelta(minutes=self.settings.stuck_minutes), self.settings.max_running_runs
        return tell_stuck(self.store, self.clock, quiet, cap, self.policies.limits_of)

    def seal_audit(self) -> int:
        """Close the audit's chains over what it has got since; how many entries."""
        from factory_runtime.services.seal_audit import seal_audit

        return seal_audit(self.store, self.clock)

    @cached_property
    def health(self) -> FactoryHealth:
        """Looks at the parts."""
        from factory_runtime.memory.lance.faults import check_place
        from factory_runtime.orchestration.server_health import ServerHealth
        from factory_runtime.services.health import FactoryHealth, check_storage

        settings = self.settings
        checks = {
            "orchestrator": ServerHealth(settings.prefect_api_url).check,
            "knowledgeSystem": lambda: check_place(self.memory_place),
            "artifactStorage": lambda: check_storage(self.storage, settings.tenant),
        }
        return FactoryHealth(
            lambda: self.store, self.clock, checks, lambda: self.memory_disk.complaint()
        )

    @cached_property
    def memory_disk(self) -> MemoryDisk:
        """What the memory's index takes."""
        from factory_runtime.memory.disk import MemoryDisk

        return MemoryDisk(lambda: self.memory_place.ground, self.settings.memory_disk_mib)

    @cached_property
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

    def inputs_of(self, run: Run) -> Any:
        """A run's inputs, wherever their body lies."""
        from factory_runtime.services.bodies import from_body

        return from_body(self.storage, run.tenant_id, run.inputs)


def open_runtime(settings: Settings | None = None) -> Runtime:
    """The runtime for these settings, or for those of the environment."""
    return Runtime(settings or Settings(), SystemClock())


def make_home(settings: Settings) -> None:
    """Make ``FACTORY_HOME``, readable by its owner alone.

    Raises:
        StorageFullError: it cannot be made or written.
    """
    try:
        settings.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise StorageFullError(
            f"the folder {settings.root} cannot be made: {exc.strerror}",
            hint="set FACTORY_HOME to a folder you can write",
        ) from exc

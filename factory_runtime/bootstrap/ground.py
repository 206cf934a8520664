"""What all parts stand on: the stores, the git host, the job types and the policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from factory_runtime.bootstrap.artifact_storage import open_artifact_storage
from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.domain.errors import StorageFullError
from factory_runtime.ports import ArtifactStorage, Clock, GitHost, JobType, RunStore
from factory_runtime.settings import Settings

if TYPE_CHECKING:
    from factory_runtime.domain.run import Run
    from factory_runtime.hosts.opening import OpenedHost
    from factory_runtime.services.policy import PolicyBook
    from factory_runtime.services.secret_box import SecretBox


class SystemClock:
    """The time of this machine, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Ground:
    """The settings, and what is opened by them alone.

    Attributes:
        own_job_types: used instead of those that installed packages offer.
    """

    settings: Settings
    clock: Clock
    own_job_types: Mapping[str, JobType] | None = None

    @opened_once
    def job_types(self) -> Mapping[str, JobType]:
        """The job types to use: those given, else all that installed packages offer."""
        if self.own_job_types is not None:
            return self.own_job_types
        from factory_runtime.jobs.registry import job_types

        return job_types(self.settings.job_types)

    @opened_once
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

    @opened_once
    def bare_storage(self) -> ArtifactStorage:
        """Artifact storage without regard to the sweep: for itself, and for those who look after it."""
        return open_artifact_storage(self.settings)

    @opened_once
    def storage(self) -> ArtifactStorage:
        from factory_runtime.services.spared_bodies import SparingStorage

        return SparingStorage(self.bare_storage, self.find_store)

    @opened_once
    def host(self) -> GitHost:
        from factory_runtime.hosts.chosen import ChosenHosts
        from factory_runtime.hosts.local import LocalGitHost

        local = LocalGitHost(self.settings.git_folder)
        return ChosenHosts(local, self.git_host_of, self._open_host, self.clock)

    def git_host_of(self, tenant_id: str) -> str:
        """``local``, or the ``block:NAME`` of a host elsewhere."""
        return self.policies.git_host_of(tenant_id) or self.settings.git_host

    def _open_host(self, tenant_id: str, choice: str) -> OpenedHost:
        from factory_runtime.hosts.opening import open_host
        from factory_runtime.orchestration.credential_blocks import CredentialBlocks

        return open_host(CredentialBlocks(), tenant_id, choice, self.settings.mirrors_folder)

    @opened_once
    def policies(self) -> PolicyBook:
        from factory_runtime.services.policy import PolicyBook

        folder = self.settings.policy_folder
        absolute = None if folder is None else folder.expanduser().absolute()
        return PolicyBook(self.find_store, absolute, self.clock)

    @opened_once
    def secret_box(self) -> SecretBox:
        """Seals secrets that are kept in the store."""
        from factory_runtime.services.secret_box import open_secret_box

        settings, file = self.settings, None
        if settings.database_url is None:
            make_home(settings)
            file = settings.root / "secret.key"
        return open_secret_box([key.get_secret_value() for key in settings.secret_keys], file)

    def inputs_of(self, run: Run) -> Any:
        """A run's inputs, wherever their body lies."""
        from factory_runtime.services.bodies import from_body

        return from_body(self.storage, run.tenant_id, run.inputs)


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

"""Where services are, for every process: one tree, environment prefix ``FACTORY_``."""

from __future__ import annotations

import ipaddress
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

HOME_TENANT = "local"
"""The tenant of who names none."""

_SLUG = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"

_CONTAINER_URL = r"az://(?=[a-z0-9-]{3,63}(/|$))[a-z0-9]+(-[a-z0-9]+)*(/(?!\.+(/|$))[\w.-]+)*/?"

EMBEDDER_NAMES = "minilm, light, openai:MODEL and azure:DEPLOYMENT"
EMBEDDER_NAME = (
    r"minilm|light|(?P<service>openai|azure):(?P<model>[A-Za-z0-9][A-Za-z0-9._:/-]{0,99})"
    r"(@(?P<dimensions>[1-9][0-9]{0,3}))?"
)
SUMMARY_MODELS = "openai:MODEL and azure:DEPLOYMENT"
SUMMARY_MODEL = r"(?P<service>openai|azure):(?P<model>[A-Za-z0-9][A-Za-z0-9._:/-]{0,99})"

_ARTIFACT_STORAGES = "local, az://PREFIX (20 lower-case letters, digits and hyphens) and block:NAME"
_ARTIFACT_STORAGE = (
    r"local|az://(?=[a-z0-9-]{1,20}$)[a-z0-9]+(-[a-z0-9]+)*"
    r"|block:[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?"
)

_WIDEST = {4: 8, 6: 7}
"""The fewest bits that name a network of proxies: those of 10.0.0.0/8, and of fc00::/7."""


class OidcIssuer(BaseModel):
    """Somebody whose tokens the API takes: what they are checked by, and which claims are read.

    Attributes:
        issuer: its URL, as its tokens spell it; ``https``, or ``http`` on this machine.
        audience: what its tokens must be meant for.
        tenant: of all its tokens; None reads ``tenant_claim``.
        roles_claim: a list like ``["operator:shop", "viewer"]``; other words in it mean nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    audience: str = Field(min_length=1)
    tenant: str | None = Field(default=None, pattern=_SLUG)
    tenant_claim: str = Field(default="factory_tenant", min_length=1)
    name_claim: str = Field(default="sub", min_length=1)
    groups_claim: str = Field(default="groups", min_length=1)
    roles_claim: str = Field(default="factory_roles", min_length=1)

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or parts.scheme not in ("https", *(["http"] if here else [])):
            raise ValueError("an issuer is an https URL")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("an issuer's URL has neither a query nor a fragment nor a user")
        return url


class Settings(BaseSettings):
    """All of it has a default: nothing needs to be configured in the embedded profile.

    Attributes:
        home: the one folder of the embedded profile.
        database_url: SQLAlchemy URL of the run store; None is SQLite below ``home``.
        template_folders: folders with templates of your own, before the built-in ones.
        source_roots: folders outside a template that its steps may name as ``source``.
        data_hosts: hosts that jobs may fetch data from: ``host`` at the usual port, ``host:port``,
            and ``*.example.com`` or ``*`` for public addresses alone.
        http_hosts: hosts that jobs may send requests to, as ``data_hosts``.
        template_hosts: git hosts that templates may be published from, as ``data_hosts``; on this
            machine without TLS, where it is listed as ``http://127.0.0.1:port``.
        job_types: modules with job types of your own, beside those that packages offer by entry
            point: each has a ``JOB_TYPES``, a list of them.
        prefect_api_url: a server somebody else keeps; None uses the local one.
        policy_folder: with ``<tenant>.yaml`` and ``default.yaml``: what tenants may ask for; None
            is no such files. Without a policy everything is allowed.
        max_running_runs: how many runs are worked on at once, over all executors of one store.
        topic_caps: how many jobs of a type are at work at once, over all tenants and executors, like
            ``{"repo-generation": 8}``; a type that is not named has no cap.
        work_pool: where admitted runs are launched into, for Prefect's workers to execute; None is in
            the process that admits them.
        memory_shared_tenant: whose memories of no project others search beside their own, where their
            policy asks for it; None is nobody's.
        shared_folder: where artifacts, repositories and memory lie instead of below ``home``: seen by
            every machine of one run store.
        artifact_storage: where bodies of artifacts go: ``local``, a folder below ``shared_folder``;
            ``az://PREFIX``, containers of Azure's whose names begin so; or ``block:NAME``, what a
            block of Prefect's says.
        artifact_account: of Azure's, for ``az://``: a connection string, or the URL of an account that
            this machine's identity opens.
        job_routes: the ``pool/queue`` of Prefect's whose workers do the jobs of a type, like
            ``{"documentation": "docs-pool/docs"}``; the others are done where their run is.
        warm_processes: of the worker that `factory up` keeps; 0 is no worker.
        callback_hosts: hosts inside a private network, without TLS, or at another port than the usual,
            that callbacks may be sent to and sources of webhooks be asked at, as ``data_hosts``;
            everything public may be.
        secret_keys: what stored secrets are sealed with: the first seals, any opens. Where nothing
            but ``home`` is used, one is made there.
        log_format: of what the processes of `factory up` and `factory api` log: text for people, or a
            JSON object a line.
        oidc_issuers: whose tokens the API takes, beside its own keys.
        api_url, api_key: of a Factory API that the commands ask, instead of the stores here.
        api_plain_http: whether the key may go to it unencrypted, where it is another machine.
        api_host, api_port: where the Factory API listens.
        api_processes: that serve it; those of `factory up` are one, and 0 is none.
        public_url: of the API, as others reach it, like ``https://factory.example.com``.
        run_page: where people look at a run, with ``{run}`` or ``{flow_run}`` in it; None is what the
            API says of it at ``public_url``, if that is set.
        api_proxies: addresses or networks of reverse proxies, whose word counts for where a request
            came from.
        api_rate, api_tenant_rate: requests of one key, and of all keys of a tenant.
        api_refused_rate: credentials that are not good, from one address.
        api_webhook_rate, api_webhook_tenant_rate: deliveries of one source of webhooks, and of all
            sources of a tenant.
        api_body_kib: the most that the body of a request has.
        redis_url: where processes count requests together; None has each take its share.
        database_connections: to PostgreSQL, of one process.
        database_statement_seconds: what PostgreSQL gives one statement for one tenant; twenty times as
            long one that looks over all tenants.
        metrics_token: shown by who may read ``/metrics``, beside administrators.
        git_host: where repositories are made, unless a tenant's policy says otherwise: ``local``, a
            folder of ours, or ``block:NAME``, a block ``factory-git-host`` in Prefect.
        memory_url: of the memory's index, ``az://container/prefix``; None is a folder below
            ``shared_folder``.
        memory_account: of Azure's, that the container is in.
        memory_account_key, memory_sas_token: what it is opened with; without either, this machine's
            identity is.
        memory_endpoint: where the account answers, if not at ``ACCOUNT.blob.core.windows.net``.
        embedder: what makes vectors of memories: ``minilm``, ``light``, ``openai:MODEL`` or
            ``azure:DEPLOYMENT``.
        embedding_url: of the endpoint; None is OpenAI's own.
        embedding_dimensions: how long its vectors are to be; None is what the model is known for.
        embedding_api_version: of Azure's older addresses, like ``2024-10-21``; None is its ``v1``.
        embedding_batch: texts in one request.
        embedding_plain_http: whether texts and key may go to another machine unencrypted.
        summary_model: a language model that writes about runs and failures, ``openai:MODEL`` or
            ``azure:DEPLOYMENT``; None has nobody write.
        summary_url, summary_api_version, summary_plain_http: of its endpoint, as of that of embeddings.
        summary_budget: how often it is asked for one tenant in a day.
        hooks: whether the hooks of flow runs drain the outbox; else the sweep does.
    """

    model_config = SettingsConfigDict(env_prefix="FACTORY_", extra="ignore", frozen=True)

    home: Path = Path(".factory")
    database_url: str | None = None
    tenant: str = HOME_TENANT
    project: str = "default"
    template_folders: tuple[Path, ...] = ()
    source_roots: tuple[Path, ...] = ()
    data_hosts: tuple[str, ...] = ()
    http_hosts: tuple[str, ...] = ()
    template_hosts: tuple[str, ...] = ()
    callback_hosts: tuple[str, ...] = ()
    job_types: tuple[str, ...] = ()
    prefect_api_url: str | None = None
    policy_folder: Path | None = None
    memory_shared_tenant: str | None = Field(default=None, pattern=_SLUG)
    shared_folder: Path | None = None
    work_pool: str | None = Field(default=None, min_length=1)
    start_minutes: float = Field(
        default=5, gt=0, description="how long a worker of the pool may take to begin a run"
    )
    max_running_runs: int = Field(default=4, ge=1, le=1000)
    topic_caps: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    job_routes: dict[str, str] = Field(default_factory=dict)
    warm_processes: int = Field(default=2, ge=0, le=64)
    hooks: bool = True
    secret_keys: tuple[SecretStr, ...] = ()
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    oidc_issuers: tuple[OidcIssuer, ...] = ()
    api_url: str | None = None
    api_key: SecretStr | None = None
    api_plain_http: bool = False
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=4280, ge=0, le=65535)
    api_processes: int = Field(default=1, ge=0, le=64)
    public_url: str | None = None
    run_page: str | None = None
    api_proxies: tuple[str, ...] = ()
    api_rate: str = "1200/minute"
    api_tenant_rate: str = "6000/minute"
    api_refused_rate: str = "30/minute"
    api_webhook_rate: str = "1200/minute"
    api_webhook_tenant_rate: str = "6000/minute"
    api_body_kib: int = Field(default=1024, ge=1)
    redis_url: SecretStr | None = None
    metrics_token: SecretStr | None = None
    memory_disk_mib: int | None = Field(
        default=None, ge=1, description="what the memory's index should take; more is told of"
    )
    git_host: str = Field(
        default="local", pattern=r"^(local|block:[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?)$"
    )
    artifact_storage: str = "local"
    artifact_account: SecretStr | None = None
    memory_url: str | None = None
    memory_account: str | None = Field(default=None, pattern=r"^[a-z0-9]{3,24}$")
    memory_account_key: SecretStr | None = None
    memory_sas_token: SecretStr | None = None
    memory_endpoint: str | None = None
    embedder: str = "minilm"
    embedding_url: str | None = None
    embedding_key: SecretStr | None = None
    embedding_dimensions: int | None = Field(default=None, ge=1, le=9999)
    embedding_api_version: str | None = Field(default=None, min_length=1)
    embedding_batch: int = Field(default=256, ge=1, le=2048)
    embedding_plain_http: bool = False
    summary_model: str | None = None
    summary_url: str | None = None
    summary_key: SecretStr | None = None
    summary_api_version: str | None = Field(default=None, min_length=1)
    summary_plain_http: bool = False
    summary_budget: int = Field(default=200, ge=0)
    database_connections: int = Field(default=30, ge=1, le=1000)
    database_statement_seconds: float = Field(default=30, ge=0.1, le=86_400)
    lease_seconds: float = Field(
        default=60, ge=1, description="how long a worker that says nothing keeps what it is at"
    )
    stuck_minutes: float = Field(
        default=60, gt=0, description="an open run in which nothing happens for so long is told of"
    )
    render_seconds: int = Field(default=60, ge=1, description="wall time of one render")
    render_cpu_seconds: int = Field(default=30, ge=1)
    render_memory_mib: int = Field(default=1024, ge=64)
    render_size_mib: int = Field(default=256, ge=1, description="bytes one render may leave")
    render_files: int = Field(default=20_000, ge=1)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Without files: there are none, and to look through them takes as long as the rest."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings

    @field_validator("memory_url")
    @classmethod
    def _is_container(cls, url: str | None) -> str | None:
        if url is not None and re.fullmatch(_CONTAINER_URL, url) is None:
            raise ValueError("is no address of a container in Azure, like az://factory/memory")
        return url

    @field_validator("memory_endpoint")
    @classmethod
    def _is_kept_to_ourselves(cls, url: str | None) -> str | None:
        """Refuse what would send memories unencrypted to another machine."""
        if url is None:
            return None
        parts = urlsplit(url)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or parts.scheme not in ("https", *(["http"] if here else [])):
            raise ValueError("is no https URL, like https://factory.blob.core.windows.net")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("has a query, a fragment or a user: keys have settings of their own")
        return url.rstrip("/")

    @field_validator("public_url", "run_page")
    @classmethod
    def _can_be_opened(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("is no address that others can open, like https://factory.example.com")
        if info.field_name == "public_url" and (parts.query or parts.fragment):
            raise ValueError("has a query or a fragment: like https://factory.example.com")
        if info.field_name == "run_page" and "{run}" not in url and "{flow_run}" not in url:
            raise ValueError("does not say which run: it has {run} or {flow_run} in it")
        return url.rstrip("/")

    @field_validator("artifact_storage")
    @classmethod
    def _is_storage(cls, name: str) -> str:
        if re.fullmatch(_ARTIFACT_STORAGE, name) is None:
            raise ValueError(f"is no artifact storage: there are {_ARTIFACT_STORAGES}")
        return name

    @field_validator("embedder")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if re.fullmatch(EMBEDDER_NAME, name) is None:
            raise ValueError(f"no embedder is called {name!r}: there are {EMBEDDER_NAMES}")
        return name

    @field_validator("summary_model")
    @classmethod
    def _can_write(cls, name: str | None) -> str | None:
        if name is not None and re.fullmatch(SUMMARY_MODEL, name) is None:
            raise ValueError(f"no model is called {name!r}: there are {SUMMARY_MODELS}")
        return name

    @field_validator("oidc_issuers")
    @classmethod
    def _are_different(cls, issuers: tuple[OidcIssuer, ...]) -> tuple[OidcIssuer, ...]:
        if len({one.issuer for one in issuers}) < len(issuers):
            raise ValueError("an issuer is named twice")
        return issuers

    @field_validator("api_proxies")
    @classmethod
    def _are_somebody(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse everybody, and names: the server would take a name for nobody's."""
        for proxy in proxies:
            try:
                network = ipaddress.ip_network(proxy)
            except ValueError:
                is_somebody = False
            else:
                is_somebody = network.prefixlen >= _WIDEST[network.version]
            if not is_somebody:
                raise ValueError(
                    f"{proxy!r} is not the address of a proxy, or would let anybody say where a"
                    ' request came from: list your proxies, like ["10.0.0.7", "10.1.0.0/16"]'
                )
        return proxies

    @cached_property
    def root(self) -> Path:
        """``home`` as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def database_file(self) -> Path:
        """Where the run store lies unless ``database_url`` says otherwise."""
        return self.root / "factory.db"

    @property
    def run_store_url(self) -> str:
        return self.database_url or f"sqlite:///{self.database_file}"

    @cached_property
    def shared(self) -> Path:
        """``shared_folder``, or else ``home``, as an absolute path."""
        given = self.shared_folder
        return self.root if given is None else given.expanduser().absolute()

    @property
    def artifacts_folder(self) -> Path:
        return self.shared / "artifacts"

    @property
    def git_folder(self) -> Path:
        return self.shared / "git"

    @property
    def mirrors_folder(self) -> Path:
        """Copies of repositories on hosts elsewhere; it may be deleted while nothing runs."""
        return self.root / "mirrors"

    @property
    def memory_folder(self) -> Path:
        return self.shared / "memory"

    @property
    def templates_folder(self) -> Path:
        """Copies of templates that lie in artifact storage; it may be deleted."""
        return self.root / "templates"

    @property
    def prefect_folder(self) -> Path:
        return self.root / "prefect"

    @property
    def scratch_folder(self) -> Path:
        """Where renders are staged; emptied when the executor starts."""
        return self.root / "scratch"

    @property
    def stack_folder(self) -> Path:
        """State, logs and sockets of the local stack."""
        return self.root / "stack"

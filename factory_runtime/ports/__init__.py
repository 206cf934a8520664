"""What the factory asks of the outside, as Protocols. Services import these and nothing behind them.

Every method of a port that talks to something outside may raise ``TransientError`` (a retry may
help) or ``PermanentError`` (it will not); adapters translate their library's errors into these.
"""

from factory_runtime.ports.access_records import AccessRecords
from factory_runtime.ports.artifact_storage import ArtifactStorage, StoredBody
from factory_runtime.ports.audit_records import AuditRecords
from factory_runtime.ports.clock import Clock
from factory_runtime.ports.credentials import CredentialBook, Credentials, NoCredentials
from factory_runtime.ports.delivery import (
    Build,
    BuildOrder,
    BuildResult,
    BuildStatus,
    Delivery,
    HookOrder,
    Link,
    Pipeline,
    PipelineOrder,
    PullRequest,
    PullRequestOrder,
    PullRequestStatus,
    WorkItem,
    WorkItemOrder,
)
from factory_runtime.ports.deployment_records import DeploymentRecords
from factory_runtime.ports.git_host import (
    ChoiceOfHosts,
    Commit,
    CommitOrder,
    GitHost,
    HostFindings,
    Inspectable,
    Repository,
    RepositoryCopies,
)
from factory_runtime.ports.job_type import (
    FileTree,
    JobContext,
    JobFacts,
    JobType,
    Stopping,
    Undoing,
)
from factory_runtime.ports.keeping_records import KeepingRecords, NamedDigests
from factory_runtime.ports.memory import Cutter, Embedder, IndexSize, MemoryIndex, RecallQuery
from factory_runtime.ports.notifier import AddressBook, Notifier
from factory_runtime.ports.numbers import (
    EndedJob,
    EndedRun,
    EndedUse,
    FactoryNumbers,
    Line,
    NumberRecords,
)
from factory_runtime.ports.operator_records import OperatorRecords
from factory_runtime.ports.prefect import Launcher
from factory_runtime.ports.publication_records import PublicationRecords
from factory_runtime.ports.queue_records import (
    EVERYBODY,
    DispatchTransaction,
    JobKey,
    QueueRecords,
    RoutedJob,
    RunKey,
    SeenRun,
    SlotHolder,
    TopicQueue,
    WaitingRun,
)
from factory_runtime.ports.routed_jobs import RoutedJobRecords
from factory_runtime.ports.run_records import Page, RunFilter
from factory_runtime.ports.run_store import RunStore, RunTransaction
from factory_runtime.ports.template_repository import FetchedTemplate, TemplateRepository
from factory_runtime.ports.webhook_records import WebhookRecords

__all__ = [
    "EVERYBODY",
    "AccessRecords",
    "AddressBook",
    "ArtifactStorage",
    "AuditRecords",
    "Build",
    "BuildOrder",
    "BuildResult",
    "BuildStatus",
    "ChoiceOfHosts",
    "Clock",
    "Commit",
    "CommitOrder",
    "CredentialBook",
    "Credentials",
    "Cutter",
    "Delivery",
    "DeploymentRecords",
    "DispatchTransaction",
    "Embedder",
    "EndedJob",
    "EndedRun",
    "EndedUse",
    "FactoryNumbers",
    "FetchedTemplate",
    "FileTree",
    "GitHost",
    "HookOrder",
    "HostFindings",
    "IndexSize",
    "Inspectable",
    "JobContext",
    "JobFacts",
    "JobKey",
    "JobType",
    "KeepingRecords",
    "Launcher",
    "Line",
    "Link",
    "MemoryIndex",
    "NamedDigests",
    "NoCredentials",
    "Notifier",
    "NumberRecords",
    "OperatorRecords",
    "Page",
    "Pipeline",
    "PipelineOrder",
    "PublicationRecords",
    "PullRequest",
    "PullRequestOrder",
    "PullRequestStatus",
    "QueueRecords",
    "RecallQuery",
    "Repository",
    "RepositoryCopies",
    "RoutedJob",
    "RoutedJobRecords",
    "RunFilter",
    "RunKey",
    "RunStore",
    "RunTransaction",
    "SeenRun",
    "SlotHolder",
    "Stopping",
    "StoredBody",
    "TemplateRepository",
    "TopicQueue",
    "Undoing",
    "WaitingRun",
    "WebhookRecords",
    "WorkItem",
    "WorkItemOrder",
]

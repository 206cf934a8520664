"""The tables. Their columns are named after the fields of the values they hold.

Every row carries ``tenant_id``, and every index that serves a tenant's query starts with it. A
migration that makes a table calls ``migrations.tenant_wall.put_behind_wall`` with its name; a test
asks PostgreSQL whether each of these stands behind the wall.
"""

from factory_runtime.run_store.tables.access import api_keys
from factory_runtime.run_store.tables.audit import audit, audit_seals, audit_unsealed
from factory_runtime.run_store.tables.callback import callbacks
from factory_runtime.run_store.tables.deployment import deployments
from factory_runtime.run_store.tables.hold import dying_bodies, holds
from factory_runtime.run_store.tables.job import (
    artifacts,
    attempts,
    checkpoints,
    effects,
    jobs,
    run_events,
)
from factory_runtime.run_store.tables.ledger import (
    locks,
    outbox,
    requests,
    templates,
)
from factory_runtime.run_store.tables.memory import (
    memory_forgotten,
    memory_models,
    memory_observations,
    memory_packages,
    memory_records,
    memory_tallies,
    memory_uses,
    memory_vectors,
)
from factory_runtime.run_store.tables.operator import (
    approvals,
    dead_letters,
    failure_kinds,
    letter_counts,
    policies,
    redrive_orders,
    votes,
)
from factory_runtime.run_store.tables.publication import publications
from factory_runtime.run_store.tables.queue import breakers, queues, set_asides, topic_waits
from factory_runtime.run_store.tables.run import run_words, runs, stands_in_queue, waits_for_a_time
from factory_runtime.run_store.tables.schema import metadata
from factory_runtime.run_store.tables.webhook import webhook_deliveries, webhook_sources

__all__ = [
    "api_keys",
    "approvals",
    "artifacts",
    "attempts",
    "audit",
    "audit_seals",
    "audit_unsealed",
    "breakers",
    "callbacks",
    "checkpoints",
    "dead_letters",
    "deployments",
    "dying_bodies",
    "effects",
    "failure_kinds",
    "holds",
    "jobs",
    "letter_counts",
    "locks",
    "memory_forgotten",
    "memory_models",
    "memory_observations",
    "memory_packages",
    "memory_records",
    "memory_tallies",
    "memory_uses",
    "memory_vectors",
    "metadata",
    "outbox",
    "policies",
    "publications",
    "queues",
    "redrive_orders",
    "requests",
    "run_events",
    "run_words",
    "runs",
    "set_asides",
    "stands_in_queue",
    "templates",
    "topic_waits",
    "votes",
    "waits_for_a_time",
    "webhook_deliveries",
    "webhook_sources",
]

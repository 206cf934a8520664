"""The run store: what happened, kept in a relational database."""

from factory_runtime.run_store.in_memory import InMemoryRunStore
from factory_runtime.run_store.opening import open_run_store
from factory_runtime.run_store.store import SqlRunStore

__all__ = ["InMemoryRunStore", "SqlRunStore", "open_run_store"]

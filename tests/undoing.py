"""A small factory whose job types write to git, to be undone; and what it takes to undo them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from factory_runtime.domain.records import Effect, EffectStatus
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.run import Run
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.jobs.repo_generation import RepoGeneration
from factory_runtime.jobs.template_layer import TemplateLayer
from factory_runtime.ports import FileTree, JobContext, RunStore
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.drain_outbox import Drained, drain_outbox
from factory_runtime.services.engine import Engine, Walk, stop_walking
from factory_runtime.services.inventory import Inventory
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.settle_effects import EffectSettler
from factory_runtime.services.stop_outside import OutsideStopper
from factory_runtime.services.topics import (
    SETTLE_EFFECTS,
    STOP_OUTSIDE,
    TAKE_INVENTORY,
    UNDO_RUN,
)
from factory_runtime.services.undo_run import Undoer
from tests.builders import TENANT
from tests.job_types import files
from tests.small_factory import SmallFactory

SERVICE = """
steps:
  - {name: generate, type: repo, undo: delete-repository, with: {repository: orders, source: files}}
  - name: layer
    type: layer
    needs: [generate]
    each: "${{ inputs.layers }}"
    undo: revert-commit
    with: {repository: orders, source: files}
  - {name: plain, type: act, needs: [layer]}
  - {name: last, type: layer, needs: [plain], undo: revert-commit,
     with: {repository: orders, source: files}}
inputs:
  type: object
  properties: {layers: {type: array, items: {type: string}, default: [a, b]}}
"""
"""A repository, layers in it side by side, a step with nothing to undo, and one more layer."""


class Repo(RepoGeneration):
    """As it is, with a file that needs no rendering."""

    facts = replace(RepoGeneration.facts, name="repo")

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        return super().publish(context, with_, files(readme="hello"))


class LayerOfOne(TemplateLayer):
    """As it is, with a file named after the job. What ``on`` says of the job comes before it."""

    facts = replace(TemplateLayer.facts, name="layer")

    def __init__(self, on: Mapping[str, Any]) -> None:
        self._on = on

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        behaviour = self._on.get(context.facts.step)
        if behaviour is not None:
            behaviour(context, with_)
        return super().publish(context, with_, files(**{context.facts.step: "x"}))

    def undo(self, context: JobContext, undo: str, effects: tuple[Effect, ...]) -> JobResult:
        behaviour = self._on.get(context.facts.step)
        if behaviour is not None:
            behaviour(context, {})
        return super().undo(context, undo, effects)


class UndoFactory(SmallFactory):
    """A small factory with job types that can be undone, and what makes and follows undos."""

    def __init__(self, folder: Path, store: RunStore | None = None) -> None:
        super().__init__(folder, store)
        self.job_types.update({"repo": Repo(), "layer": LayerOfOne(self.on)})
        facts = {name: one.facts for name, one in self.job_types.items()}
        self.catalog = TemplateCatalog([folder], facts)
        self.desk = RequestDesk(
            self.store,
            self.storage,
            self.catalog,
            self.clock,
            find_effect=self.inventory.find,
        )
        self.undoer = Undoer(self.store, self.storage, self.clock)

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.store, self.storage, self.host, self.job_types, self.clock)

    def made(self, text: str = SERVICE, **values: Any) -> Run:
        """A run of the template, driven to its end."""
        self.template(text)
        return self.walk(self.request(**values))

    def walk(self, run: Run, engine: Engine | None = None) -> Run:
        """Drive a run to its end, and let go of it."""
        walk = self.took(run, engine)
        ended = self.drive(walk, engine)
        stop_walking(engine or self.engine, walk)
        return ended

    def took(self, run: Run, engine: Engine | None = None) -> Walk:
        return self.take_up(run, f"flow-of-{run.id}", engine)

    def undo(self, run: Run, by: str = "ada") -> Run:
        """The run that undoes it, not begun yet."""
        undoing = self.undoer.undo(TENANT, run.id, by)
        assert undoing is not None
        return undoing

    def tidy(self) -> Drained:
        """Do what the outbox asks for in a minute."""
        self.clock.pass_time(timedelta(minutes=1))
        settler = EffectSettler(self.store, self.host, self.job_types, self.clock)
        stopper = OutsideStopper(self.store, self.host, self.job_types, self.clock)
        handlers = {
            UNDO_RUN: self.undoer.begin,
            TAKE_INVENTORY: self.inventory.take,
            SETTLE_EFFECTS: settler.settle,
            STOP_OUTSIDE: stopper.stop,
        }
        return drain_outbox(self.store, self.clock, handlers, "tests")

    def undoing(self, run: Run) -> Run | None:
        with self.store.begin(TENANT, read_only=True) as tx:
            return tx.find_undoing_run(run.id)

    def ledger(self, run: Run) -> dict[str, EffectStatus]:
        """What became of each effect, by ``<step> <kind>``."""
        return {f"{one.step} {one.kind}": one.status for one in self.effects(run)}

    def reasons(self, run: Run) -> dict[str, str | None]:
        return {f"{one.step} {one.kind}": one.reason for one in self.effects(run)}

    def repository(self, run: Run, name: str = "orders") -> list[str] | None:
        """The paths in a repository; None where it is gone."""
        if self.host.find_repository(TENANT, run.project_id, name) is None:
            return None
        return sorted(self.host.files(TENANT, run.project_id, name))

    def push(self, run: Run, path: str = "notes", name: str = "orders") -> None:
        """As a person would."""
        assert isinstance(self.host, InMemoryGitHost)
        self.host.push(TENANT, run.project_id, name, TreeFile(path, b"theirs"))

"""A run that waits keeps what it began with, whatever becomes of its template or of the release."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import TemplateChangedError, UnknownTemplateError
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.bodies import from_body
from factory_runtime.services.plans import read_plan
from factory_runtime.services.retry_run import retry_run
from factory_runtime.services.unfinished import Unfinished, find_unfinished
from tests import approvals
from tests.builders import TENANT
from tests.small_factory import Act, SmallFactory, fails

ONE = """
inputs: {type: object, properties: {text: {type: string, default: one}}}
steps:
  - name: act
    type: act
    approval: {message: go?}
    with: {text: "${{ inputs.text }}"}
  - {name: paint, type: paint, needs: [act], with: {source: files}}
"""
TWO = "steps:\n  - {name: other, type: act}\n"

Fate = Callable[[SmallFactory], None]


def replaced(factory: SmallFactory) -> None:
    folder = factory.template(TWO, version="2.0.0")
    (folder / "files" / "readme.txt").write_text("two")


def edited(factory: SmallFactory) -> None:
    (factory.template(TWO) / "files" / "readme.txt").write_text("two")


def removed(factory: SmallFactory) -> None:
    shutil.rmtree(factory.folder / "demo")


FATES = pytest.mark.parametrize("fate", [replaced, edited, removed])


def waiting(factory: SmallFactory) -> Run:
    return approvals.waiting(factory, ONE)


def granted(factory: SmallFactory, run: Run) -> Run:
    """What becomes of it once somebody has said yes."""
    approvals.vote(factory, approvals.approval_of(factory, run))
    return approvals.go_on(factory, run)


@FATES
def test_a_run_that_waits_ends_with_the_version_and_the_sources_it_began_with(
    factory: SmallFactory, fate: Fate
) -> None:
    run = waiting(factory)
    before = read_plan(factory.storage, run)
    fate(factory)
    ended = granted(factory, run)
    assert (ended.status, ended.template_version) == (RunStatus.SUCCEEDED, "1.0.0")
    assert read_plan(factory.storage, ended) == before
    assert set(factory.jobs(run)) == {"approve-act", "act", "paint"}
    tree = factory.storage.read(TENANT, before.sources["files"])
    assert b"hello" in tree
    assert b"two" not in tree


@FATES
def test_a_failed_run_is_sent_round_again_with_other_inputs_of_its_own_version(
    factory: SmallFactory, fate: Fate
) -> None:
    factory.on["act"] = fails(ValueError("no"))
    run = granted(factory, waiting(factory))
    assert run.status is RunStatus.FAILED
    del factory.on["act"]
    fate(factory)
    factory.clock.pass_time(timedelta(minutes=1))
    change = Change(inputs={"text": "changed"})
    retry_run(factory.store, factory.clock, TENANT, run.id, "eve", change=change, desk=factory.desk)
    walk = factory.take_up(run)
    again = [name for name in walk.plan.by_name if name.startswith("approve-act")]
    assert again, "a changed plan asks again"
    assert factory.run(run).template_version == "1.0.0"
    assert read_plan(factory.storage, factory.run(run)).inputs == {"text": "changed"}


@FATES
def test_a_run_that_waits_can_be_launched_by_a_deployment_that_has_to_be_made_anew(
    factory: SmallFactory, fate: Fate
) -> None:
    run = waiting(factory)
    fate(factory)
    offered = factory.catalog.load_to_offer(run)
    assert offered.version == ("2.0.0" if fate is replaced else "1.0.0")
    assert (offered.digest == run.template_digest) == (fate is not replaced)
    factory.storage.delete(TENANT, run.template_digest)
    if fate is not replaced:
        with pytest.raises((UnknownTemplateError, TemplateChangedError)):
            factory.catalog.load_to_offer(run)


def test_a_template_that_is_gone_gives_no_new_run(factory: SmallFactory) -> None:
    waiting(factory)
    removed(factory)
    for version in (None, "1.0.0"):
        with pytest.raises(UnknownTemplateError):
            factory.request(version=version)


# --- what an upgrade has to know


class ActTwo(Act):
    """Of the next release."""

    facts = replace(Act.facts, version="2")


def unfinished(factory: SmallFactory) -> list[Unfinished]:
    facts = {name: job_type.facts for name, job_type in factory.job_types.items()}
    return list(find_unfinished(factory.store, factory.storage, facts))


def test_a_run_that_has_all_it_began_with_is_not_touched_by_an_upgrade(
    factory: SmallFactory,
) -> None:
    run = waiting(factory)
    removed(factory)
    (one,) = unfinished(factory)
    assert (one.run.id, one.goes_on, one.has_template) == (run.id, True, True)
    assert one.sources == {"files": True}
    granted(factory, run)
    assert unfinished(factory) == []


def test_job_types_that_are_gone_or_of_another_version_are_named(factory: SmallFactory) -> None:
    waiting(factory)
    factory.job_types["act"] = ActTwo({})
    (one,) = unfinished(factory)
    assert (one.goes_on, one.other_types) == (True, {"act": ("1", "2")})
    del factory.job_types["act"]
    (one,) = unfinished(factory)
    assert (one.goes_on, one.gone_types) == (False, ("act",))


def test_a_job_that_has_succeeded_needs_its_type_no_more(factory: SmallFactory) -> None:
    factory.on["b"] = fails(ValueError("no"))
    factory.complete("steps:\n  - {name: a, type: paint, with: {source: files}}\n"
                     "  - {name: b, type: act, needs: [a]}\n")  # fmt: skip
    del factory.job_types["paint"]
    (one,) = unfinished(factory)
    assert (one.run.status, one.goes_on) == (RunStatus.FAILED, True)


def test_what_was_kept_and_is_lost_is_named(factory: SmallFactory) -> None:
    run = waiting(factory)
    plan = read_plan(factory.storage, run)
    factory.storage.delete(TENANT, plan.sources["files"])
    factory.storage.delete(TENANT, run.template_digest)
    (one,) = unfinished(factory)
    assert (one.goes_on, one.lost_sources, one.has_template) == (False, ("files",), False)
    assert run.plan is not None
    assert run.plan.reference is not None
    factory.storage.delete(TENANT, run.plan.reference.digest)
    (one,) = unfinished(factory)
    assert (one.goes_on, one.plan_problem is None) == (False, False)
    assert from_body(factory.storage, TENANT, run.inputs) == {"text": "one"}

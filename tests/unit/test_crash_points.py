"""The parts of `factory prove` that need no process: its moments, its points, its comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from deployments.prove.compare import Reference, check_alone, compare, reference_of
from deployments.prove.points import CRASH_POINTS, CrashPoint, Moment, Point, crash_points
from deployments.prove.proof import Prover, Row
from deployments.prove.watched import Watch, WatchedHost, WatchedJobType, WatchedStore
from deployments.prove.world import Left, LeftEffect, LeftRepository
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import GitHost, JobContext, RunStore
from factory_runtime.run_store import SqlRunStore
from tests.builders import TENANT
from tests.small_factory import SmallFactory

# --- the moments


def make_a_repository_and_more(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
    """One effect that a host is asked for, and one of the type's own."""
    del with_
    mine = context.facts
    context.intend("repository", "orders")
    made = context.host.ensure_repository(
        mine.tenant_id, mine.project_id, "orders", effect_key=mine.effect_key, description=""
    )
    context.intend("mail", "to somebody")
    return JobResult(
        effects=(ConfirmedEffect("repository", made.id), ConfirmedEffect("mail", "sent"))
    )


class Witness:
    """Notes each moment, and what another process would see in it."""

    def __init__(self, factory: SmallFactory) -> None:
        self.factory = factory
        self.run: Run | None = None
        self.seen: list[tuple[str, str | None, JobStatus, str, bool]] = []

    def see(self, moment: Moment) -> None:
        assert self.run is not None
        job = self.factory.jobs(self.run)[moment.job]
        ledger = " ".join(f"{e.kind}:{e.status}" for e in self.factory.effects(self.run))
        made = self.factory.host.find_repository(TENANT, "shop", "orders") is not None
        self.seen.append((moment.point.value, moment.effect, job.status, ledger, made))


def test_each_moment_comes_when_the_record_and_the_world_stand_as_its_name_says(
    tmp_path: Path, sqlite_store: SqlRunStore
):
    factory = SmallFactory(tmp_path, sqlite_store)
    witness = Witness(factory)
    watch = Watch(witness.see)
    factory.on["a"] = make_a_repository_and_more
    engine = replace(
        factory.engine,
        store=cast(RunStore, WatchedStore(factory.store, watch)),
        host=cast(GitHost, WatchedHost(factory.host, watch)),
        job_types={name: WatchedJobType(one, watch) for name, one in factory.job_types.items()},
    )
    walk = factory.start("steps:\n  - {name: a, type: act}\n")
    witness.run = walk.run
    factory.finish(walk, "a", engine)

    running, intended = JobStatus.RUNNING, "repository:intended"
    both = f"mail:intended {intended}"
    done = "mail:confirmed repository:confirmed"
    expected = [
        ("claimed", None, running, "", False),
        ("intended", "repository", running, intended, False),
        ("before-effect", "repository", running, intended, False),
        ("after-effect", "repository", running, intended, True),
        ("intended", "mail", running, both, True),
        ("after-effect", "mail", running, both, True),
        ("before-commit", None, running, both, True),
        ("after-commit", None, JobStatus.SUCCEEDED, done, True),
    ]
    seen = [(*one[:3], " ".join(sorted(one[3].split())), one[4]) for one in witness.seen]
    assert seen == expected


# --- the points


def test_a_job_without_effects_has_three_points_and_one_with_two_has_seven():
    assert [one.point.value for one in crash_points("a", [], [])] == [
        "claimed",
        "before-commit",
        "after-commit",
    ]
    assert len(crash_points("a", ["commit", "repository"], [])) == 7


def test_effects_stand_in_the_order_they_were_seen_in_also_those_in_no_ledger():
    seen = [Moment(Point.BEFORE_EFFECT, "a", "repository"), Moment(Point.INTENDED, "a", "commit")]
    points = crash_points("a", ["commit", "unseen"], [*seen, Moment(Point.INTENDED, "b", "other")])
    assert [one.effect for one in points if one.point is Point.BEFORE_EFFECT] == [
        "repository",
        "commit",
        "unseen",
    ]


def test_an_effect_that_no_host_is_asked_for_is_killed_as_soon_as_it_is_intended():
    intended = Moment(Point.INTENDED, "a", "mail")
    alone = crash_points("a", ["mail"], [intended])
    assert [p.trap for p in alone if p.point is Point.BEFORE_EFFECT] == [intended]
    asked = Moment(Point.BEFORE_EFFECT, "a", "mail")
    with_host = crash_points("a", ["mail"], [intended, asked])
    assert [p.trap for p in with_host if p.point is Point.BEFORE_EFFECT] == [asked]


def test_a_skipped_job_is_named_and_killed_around_the_commit_of_its_skip():
    prover = Prover(cast(Any, None), cast(Any, None))
    left = replace(GOOD, jobs={**GOOD.jobs, "b": JobStatus.SKIPPED}, skipped={"b": "condition"})
    prover.reference = Reference(left)
    of_b = [one for one in prover.points() if one.job == "b"]
    assert of_b[0] == Row(Point.CLAIMED, "b", skipped="condition")
    assert of_b[1:] == [
        CrashPoint(point, "b", None, Moment(point, "b")) for point in CRASH_POINTS[-2:]
    ]


# --- the comparison

GOOD = Left(
    status=RunStatus.SUCCEEDED,
    error=None,
    flow_run="COMPLETED",
    jobs={"a": JobStatus.SUCCEEDED},
    skipped={},
    repositories={"orders": LeftRepository("t1", ("x.txt",), Counter({"a": 1}))},
    artifacts={("a", "tree", "application/x-tar"): ("d1",), ("a", "commit", "git"): ("",)},
    effects=(LeftEffect("a", "commit", EffectStatus.CONFIRMED, "c1", "c1"),),
    attempts={"a": 1},
    unclosed=(),
)
EMPTY = LeftRepository(None, (), Counter())
TREE = ("a", "tree", "application/x-tar")


def repository(**values: Any) -> dict[str, Any]:
    return {"repositories": {"orders": replace(GOOD.repositories["orders"], **values)}}


def effect(**values: Any) -> dict[str, Any]:
    return {"effects": (replace(GOOD.effects[0], **values),)}


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("run", {"status": RunStatus.FAILED}),
        ("run", {"jobs": {"a": JobStatus.FAILED}}),
        ("run", {"flow_run": "RUNNING"}),
        ("tree", {"repositories": {}}),
        ("tree", {"repositories": {**GOOD.repositories, "more": EMPTY}}),
        ("tree", repository(tree="t2")),
        ("tree", repository(paths=("y.txt",))),
        ("artifacts", {"artifacts": {}}),
        ("artifacts", {"artifacts": {**GOOD.artifacts, TREE: ("d2",)}}),
        ("artifacts", {"artifacts": {**GOOD.artifacts, TREE: ("d1", "d1")}}),
        ("artifacts", {"artifacts": {**GOOD.artifacts, ("b", "tree", "x"): ("d1",)}}),
        ("effects", repository(commits=Counter({"a": 2}))),
        ("effects", repository(commits=Counter[str]())),
        ("effects", repository(commits=Counter({"a": 1, "b": 1}))),
        ("effects", repository(commits=Counter({"a": 1, "": 1}))),
        ("effects", {"effects": ()}),
        ("effects", effect(status=EffectStatus.INTENDED, reference=None)),
        ("effects", effect(found=None)),
        ("effects", effect(found="c2")),
        ("effects", effect(trouble="the host is away")),
        ("effects", {"effects": (*GOOD.effects, replace(GOOD.effects[0], kind="mail"))}),
        ("attempts", {"attempts": {"a": 2}}),
        ("attempts", {"unclosed": ("run:a:1",)}),
    ],
)
def test_whatever_a_run_leaves_otherwise_is_found_by_its_check(check: str, changes: dict[str, Any]):
    differs = compare(Reference(GOOD), replace(GOOD, **changes), {"a": 1})
    assert differs[check]
    assert not any(found for name, found in differs.items() if name != check)


def test_a_run_that_leaves_the_same_differs_in_nothing():
    assert not any(compare(Reference(GOOD), GOOD, {"a": 1}).values())
    assert not any(check_alone(GOOD).values())


def test_the_undisturbed_run_is_looked_at_as_well():
    assert check_alone(replace(GOOD, **effect(found=None)))["effects"]
    assert check_alone(replace(GOOD, **repository(commits=Counter({"a": 2}))))["effects"]


def test_only_what_differs_between_two_undisturbed_runs_may_differ():
    another = replace(GOOD, artifacts={**GOOD.artifacts, TREE: ("d9",)}, **repository(tree="t9"))
    reference = reference_of(GOOD, another)
    assert reference.varying == ("orders", "a tree application/x-tar")
    third = replace(GOOD, artifacts={**GOOD.artifacts, TREE: ("d8",)}, **repository(tree="t8"))
    assert not any(compare(reference, third, {}).values())
    lost = replace(third, **repository(tree="t8", paths=()))
    assert compare(reference, lost, {})["tree"]
    assert reference_of(GOOD, GOOD).varying == ()


# --- undos


UNDO = replace(
    GOOD,
    repositories={},
    effects=(LeftEffect("undo-a", "undo-commit", EffectStatus.CONFIRMED, "c2"),),
    undone=(
        LeftEffect("a", "commit", EffectStatus.UNDONE, "c1"),
        LeftEffect("b", "mail", EffectStatus.ORPHANED, "m1", "m1"),
    ),
)


def settled(**values: Any) -> Left:
    assert UNDO.undone is not None
    return replace(UNDO, undone=(replace(UNDO.undone[0], **values), UNDO.undone[1]))


def test_an_undo_that_leaves_only_what_the_undisturbed_one_leaves_differs_in_nothing():
    assert not any(compare(Reference(UNDO), UNDO, {}).values())


@pytest.mark.parametrize(
    "left",
    [
        settled(status=EffectStatus.CONFIRMED),
        settled(status=EffectStatus.INTENDED),
        settled(status=EffectStatus.ORPHANED),
        settled(found="c1"),
        replace(UNDO, undone=UNDO.undone[:1] if UNDO.undone else ()),
        replace(UNDO, undone=()),
    ],
)
def test_what_an_undo_has_not_settled_is_found(left: Left):
    assert compare(Reference(UNDO), left, {})["effects"]


def test_an_undo_that_settles_nothing_is_found_where_it_was_not_disturbed():
    assert check_alone(settled(status=EffectStatus.CONFIRMED))["effects"]


def test_a_commit_that_was_taken_back_may_still_be_found():
    assert not any(compare(Reference(settled(found="c1")), settled(found="c1"), {}).values())

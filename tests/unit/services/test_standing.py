"""Why a run stands where it does: which limit, who holds it, what would change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from factory_runtime.domain.approval import Approval
from factory_runtime.domain.errors import PolicyUnavailableError
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.policy import Limits
from factory_runtime.domain.records import SetAside, TopicWait
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services.read_standing import Onlooker, Queue, read_standing
from factory_runtime.services.standing import Reason, ReasonKind
from factory_runtime.services.turns import LimitsOf
from tests.builders import a_breaker, a_claimed_job, a_job, a_run, after, an_approval

NOW = after(60)
K = ReasonKind


class Scene:
    """Runs in a store, looked at a minute after noon."""

    def __init__(self, cap: int = 2) -> None:
        self.store = InMemoryRunStore()
        self.cap = cap
        self.limits: dict[str, Limits] = {}
        self.topic_caps: dict[str, int] = {}
        self.executed = True

    def run(self, *jobs: Job, **values: Any) -> Run:
        run = a_run(**{"status": RunStatus.VALIDATED, **values})
        with self.store.begin(run.tenant_id) as tx:
            own = {"tenant_id": run.tenant_id, "run_id": run.id}
            tx.add_run(run, [replace(job, position=n, **own) for n, job in enumerate(jobs)])
        return run

    def running(self, *jobs: Job, **values: Any) -> Run:
        return self.run(*jobs, **{"status": RunStatus.RUNNING, "admitted_at": after(1), **values})

    def limits_of(self, tenant_id: str) -> Limits:
        return self.limits.get(tenant_id, Limits())

    def reasons(
        self, run: Run, limits_of: LimitsOf | None = None, queue: Queue | None = None
    ) -> tuple[Reason, ...]:
        onlooker = self.onlooker(limits_of)
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            jobs = tx.list_jobs(run.id)
        return read_standing(onlooker, run, jobs, NOW, queue).reasons

    def onlooker(self, limits_of: LimitsOf | None = None) -> Onlooker:
        hosts: Mapping[str, tuple[str, ...]] = {"repo-generation": ("azure-devops",)}
        return Onlooker(
            self.store,
            self.cap,
            limits_of or self.limits_of,
            self.topic_caps,
            lambda job_type: hosts.get(job_type, ()),
            self.executed,
        )

    def only(self, run: Run) -> Reason:
        (reason,) = self.reasons(run)
        return reason


# --- runs without a slot


def test_where_all_slots_are_taken_their_holders_and_the_setting_are_named() -> None:
    scene = Scene()
    holders = [scene.running(), scene.running(tenant_id="other")]
    scene.run(tenant_id="other", requested_at=after(-9))
    scene.run(priority=Priority.HIGH)
    reason = scene.only(scene.run(requested_at=after(5)))
    assert reason.kind is K.SLOTS
    assert (reason.limit, reason.allowed, reason.taken) == ("FACTORY_MAX_RUNNING_RUNS", 2, 2)
    assert (reason.holders, reason.others) == ((holders[0].id,), 1), "others' ids are theirs"
    assert (reason.position, reason.overall) == (2, 3)
    assert reason.changes == (
        "when one of these runs ends",
        "with a higher FACTORY_MAX_RUNNING_RUNS",
    )


def test_a_tenants_and_a_projects_limit_are_told_with_their_own_holders() -> None:
    scene = Scene(cap=9)
    scene.limits["acme"] = Limits(running_runs=2, projects={"shop": 1})
    shop, blog = scene.running(), scene.running(project_id="blog")
    scene.running(tenant_id="other")
    of_tenant, of_project = scene.reasons(scene.run())
    assert (of_tenant.kind, of_tenant.limit) == (K.TENANT_SLOTS, "quotas.running_runs")
    assert of_tenant.holders == tuple(sorted((shop.id, blog.id)))
    assert (of_project.kind, of_project.limit) == (K.PROJECT_SLOTS, "quotas.projects.shop")
    assert of_project.holders == (shop.id,)
    # Others' ends change nothing for it: there is no telling when its turn is.
    assert (of_tenant.position, of_tenant.overall) == (1, None)


def test_with_slots_free_a_run_tells_whose_turn_comes_before_or_nothing() -> None:
    scene = Scene(cap=9)
    first = scene.run(requested_at=after(1))
    second = scene.run(requested_at=after(2))
    assert scene.reasons(first) == ()
    reason = scene.only(second)
    assert (reason.kind, reason.position, reason.overall) == (K.QUEUE, 2, 2)


def test_limits_that_cannot_be_read_are_the_reason() -> None:
    def limits_of(tenant_id: str) -> Limits:
        raise PolicyUnavailableError(f"{tenant_id}.yaml: line 3")

    scene = Scene()
    (reason,) = scene.reasons(scene.run(), limits_of)
    assert reason.kind is K.NO_LIMITS


def test_a_run_that_is_set_aside_tells_why_and_until_when() -> None:
    scene = Scene()
    run = scene.run()
    with scene.store.begin(run.tenant_id) as tx:
        tx.save_set_aside(SetAside(run.tenant_id, run.id, 3, after(90), "Prefect answers 500"))
    reason = scene.only(run)
    assert (reason.kind, reason.until, reason.about) == (
        K.SET_ASIDE,
        after(90),
        "Prefect answers 500",
    )


def test_what_was_asked_of_a_run_comes_before_its_place() -> None:
    scene = Scene(cap=1)
    scene.running()
    kinds = {
        K.HELD: {"pause_requested_at": after(1)},
        K.PAUSED: {"status": RunStatus.PAUSED},
        K.CANCELLING: {"cancel_requested_at": after(1)},
        K.PAUSING: {
            "status": RunStatus.RUNNING,
            "admitted_at": after(1),
            "pause_requested_at": after(1),
        },
    }
    for kind, values in kinds.items():
        run = scene.run(**values)
        reason = scene.only(run)
        assert reason.kind is kind
        if kind is not K.CANCELLING:
            assert reason.changes == (f"factory runs resume {run.id}",)


def test_where_nobody_executes_that_is_a_reason_of_its_own_but_not_for_what_is_paused() -> None:
    scene = Scene()
    scene.executed = False
    reason = scene.only(scene.run())
    assert (reason.kind, reason.changes) == (K.NOBODY, ("factory up",))
    assert scene.only(scene.run(status=RunStatus.PAUSED)).kind is K.PAUSED


def test_a_run_that_has_ended_needs_no_reason() -> None:
    scene = Scene()
    scene.executed = False
    for status in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED):
        assert scene.reasons(scene.run(status=status, completed_at=after(1))) == ()


def test_a_woken_run_queues_and_one_that_sleeps_tells_until_when() -> None:
    scene = Scene(cap=1)
    scene.running()
    job = a_job(status=JobStatus.WAITING, phrase="the pipeline", not_before=after(600))
    asleep = scene.run(job, status=RunStatus.WAITING, wake_at=after(600))
    of_run, of_job = scene.reasons(asleep)
    assert (of_run.kind, of_run.until, of_run.about) == (K.TIME, after(600), "the pipeline")
    assert (of_job.kind, of_job.step, of_job.until) == (K.TIME, job.step, after(600))
    woken = scene.run(status=RunStatus.WAITING, wake_at=NOW)
    assert scene.only(woken).kind is K.SLOTS


def test_the_queue_is_looked_at_once_for_many_runs() -> None:
    scene = Scene(cap=9)
    runs = [scene.run(requested_at=after(number)) for number in range(5)]
    queue = Queue(scene.onlooker(), NOW)
    assert scene.reasons(runs[0], queue=queue) == ()
    with scene.store.begin("acme") as tx:
        tx.save_run(runs[0], runs[0].move_to(RunStatus.CANCELLED, NOW))
    places = [scene.reasons(run, queue=queue)[0].overall for run in runs[1:]]
    assert places == [2, 3, 4, 5]


# --- jobs


def test_a_job_in_line_for_its_topic_tells_who_is_at_work_and_its_place() -> None:
    scene = Scene()
    scene.topic_caps["repo-generation"] = 1
    holder = scene.running(a_claimed_job(lease_expires_at=after(99)))
    run = scene.running(a_job(step="one"), a_job(step="two"), a_job(step="behind", needs=("one",)))
    with scene.store.begin(run.tenant_id) as tx:
        for number, step in enumerate(("one", "two")):
            tx.save_topic_wait(
                TopicWait(
                    run.tenant_id,
                    run.id,
                    step,
                    "repo-generation",
                    Priority.NORMAL,
                    since=after(number),
                    seen_at=NOW,
                )
            )
    one, two = scene.reasons(run)
    assert (one.kind, one.step, one.position) == (K.TOPIC, "one", 1)
    assert (two.kind, two.step, two.position) == (K.TOPIC, "two", 2)
    assert (one.limit, one.allowed, one.taken) == ("FACTORY_TOPIC_CAPS", 1, 1)
    assert (one.holders, one.others) == ((holder.id,), 0)
    scene.topic_caps["repo-generation"] = 2
    scene.running(a_claimed_job(lease_expires_at=after(99)), tenant_id="other")
    assert (scene.reasons(run)[0].holders, scene.reasons(run)[0].others) == ((holder.id,), 1)
    scene.limits["other"] = Limits(topics={"repo-generation": 1})
    assert scene.reasons(run)[0].taken == 2, "as claims count it"
    scene.topic_caps.clear()
    scene.limits["acme"] = Limits(topics={"repo-generation": 1})
    assert scene.reasons(run)[0].limit == "topics.repo-generation"


def asking(scene: Scene, *others: Job, **values: Any) -> tuple[Run, Approval]:
    """A run that waits for people, and for others."""
    asks = a_job(step="ask", status=JobStatus.WAITING, type="approval")
    run = scene.run(asks, *others, status=RunStatus.WAITING, wake_at=after(9000))
    approval = an_approval(replace(asks, run_id=run.id), **values)
    with scene.store.begin(run.tenant_id) as tx:
        tx.add_approval(approval)
    return run, approval


def test_a_run_that_waits_for_people_alone_says_so() -> None:
    scene = Scene()
    run, approval = asking(scene)
    whole, ask = scene.reasons(run)
    assert (whole.kind, whole.step, whole.until) == (K.PEOPLE, None, approval.expires_at)
    assert ask.kind is K.APPROVAL
    built = a_job(step="built", status=JobStatus.WAITING, phrase="the pipeline")
    run, _ = asking(scene, built)
    assert (scene.reasons(run)[0].kind, scene.reasons(run)[0].until) == (K.TIME, after(9000))


def test_where_anybody_may_decide_escalating_narrows_nothing() -> None:
    scene = Scene()
    since = NOW - timedelta(seconds=1)
    run, _ = asking(scene, by=(), escalate_at=since, escalate_to=("group:leads",))
    _, ask = scene.reasons(run)
    assert (ask.kind, ask.by) == (K.APPROVAL, ())


def test_jobs_tell_of_approvals_hosts_that_are_down_attempts_to_come_and_their_workers() -> None:
    scene = Scene()
    asked = a_job(step="ask", status=JobStatus.WAITING, type="approval")
    run = scene.running(
        asked,
        a_job(step="make"),
        a_job(step="again", type="act", not_before=after(70), error="the host is busy"),
        a_claimed_job(step="busy"),
        a_job(step="behind", needs=("make",)),
    )
    approval = an_approval(
        replace(asked, run_id=run.id),
        by=("grace",),
        escalate_at=NOW - timedelta(seconds=1),
        escalate_to=("group:leads",),
    )
    with scene.store.begin(run.tenant_id) as tx:
        tx.add_approval(approval)
        tx.save_breaker(a_breaker(failures=5, open_until=after(90)))
    ask, make, again, busy = scene.reasons(run)
    assert (ask.kind, ask.reference, ask.by) == (K.APPROVAL, approval.id, ("grace", "group:leads"))
    assert ask.changes == (f"factory approvals grant {approval.id}",)
    assert (make.kind, make.about, make.until) == (K.HOST, "azure-devops", after(90))
    assert (again.kind, again.about, again.until) == (K.RETRY, "the host is busy", after(70))
    assert (busy.kind, busy.about) == (K.AT_WORK, "build-7:4211-walk")

"""Plans as releases wrote them into their stores: a later release has to walk them as they are.

Nobody changes a file in ``kept/``; a release whose plans look otherwise adds one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.compiler.plan import plan_from_json
from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.plan import jobs_of
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.tree import pack_folder
from factory_runtime.services.plans import read_plan
from tests import approvals
from tests.builders import TENANT, a_run
from tests.small_factory import SmallFactory, fails

KEPT = sorted((Path(__file__).parent / "kept").glob("*.plan.json"))


def keep_source(factory: SmallFactory) -> str:
    """The one source of these plans, packed as it was then."""
    folder = factory.folder / "files"
    folder.mkdir(parents=True)
    (folder / "readme.txt").write_text("hello\n")
    packed = factory.folder / "packed"
    with packed.open("wb") as out:
        digest = pack_folder(folder, out).digest
    with packed.open("rb") as body:
        factory.storage.put(TENANT, body)
    return digest


def accepted(factory: SmallFactory, text: str) -> Run:
    """A run of the plan, as the release that wrote it left it in the store."""
    stored = factory.storage.put(TENANT, text.encode())
    plan = plan_from_json(text)
    run = a_run(
        template_id=plan.template_id,
        template_version=plan.template_version,
        template_digest=plan.template_digest,
        inputs=Body(inline=dict(plan.inputs)),
        plan=Body(reference=BodyReference(stored.digest, stored.size)),
    )
    with factory.store.begin(TENANT) as tx:
        tx.add_run(run, jobs_of(run, plan))
        tx.save_run(run, validated := run.move_to(RunStatus.VALIDATED, run.requested_at))
    return validated


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_a_plan_of_an_earlier_release_is_walked_to_its_end(tmp_path: Path, file: Path):
    factory = SmallFactory(tmp_path / "templates")
    source = keep_source(factory)
    run = accepted(factory, file.read_text())
    assert read_plan(factory.storage, run).sources == {"files": source}
    factory.on["risky"] = fails(ValueError("no"))
    walk = factory.take_up(run)
    while ready := [name for name in factory.ready(walk) if name != "approve-end"]:
        factory.finish(walk, ready[0])
    factory.attempt(walk, "approve-end")
    approvals.vote(factory, approvals.approval_of(factory, run))
    ended = factory.drive(walk)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert {name: str(job.status) for name, job in factory.jobs(run).items()} == {
        "begin": "Succeeded",
        "never": "Skipped",
        "paint[a]": "Succeeded",
        "paint[b]": "Succeeded",
        "risky": "Failed",
        "instead": "Succeeded",
        "approve-end": "Succeeded",
        "end": "Succeeded",
    }
    factory.store.close()


def test_there_are_kept_plans():
    assert KEPT

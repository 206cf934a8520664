"""Publications, and the runs that may still go on with what they began with."""

from __future__ import annotations

from dataclasses import replace

from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunKey, RunStore
from tests.builders import TENANT, a_job, a_letter, a_publication, a_run, a_template_record, after

OTHER = "umbrella"


def test_versions_of_a_template_stand_side_by_side(run_store: RunStore) -> None:
    first, second = a_publication(), a_publication(version="1.10.0", ref=None, commit_id=None)
    report = a_publication(template_id="report")
    with run_store.begin(TENANT) as tx:
        for publication in (second, report, first):
            tx.save_publication(publication)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_publications("microservice") == (second, first)
        assert tx.list_publications() == (second, first, report)
        assert tx.find_publication("microservice", "1.2.0") == first
        assert tx.find_publication("microservice", "9.9.9") is None
        assert tx.list_publications("nobody-s") == ()


def test_a_publication_that_is_withdrawn_replaces_itself_alone(run_store: RunStore) -> None:
    first, second = a_publication(), a_publication(version="2.0.0")
    with run_store.begin(TENANT) as tx:
        tx.save_publication(first)
        tx.save_publication(second)
        tx.save_publication(replace(first, withdrawn_at=after(5)))
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.list_publications() == (replace(first, withdrawn_at=after(5)), second)


def test_a_template_s_record_is_found_by_its_version(run_store: RunStore) -> None:
    first, second = a_template_record(), a_template_record(version="2.0.0", digest="b" * 64)
    with run_store.begin(TENANT) as tx:
        tx.register_template(first)
        tx.register_template(second)
    with run_store.begin(TENANT, read_only=True) as tx:
        assert tx.find_template("microservice", "2.0.0") == second
        assert tx.find_template("microservice", "3.0.0") is None


def test_unfinished_runs_are_those_that_are_open_or_have_open_letters(run_store: RunStore) -> None:
    unfinished: list[Run] = []
    for tenant in (OTHER, TENANT):
        ended = {"status": RunStatus.FAILED, "completed_at": after(9), "tenant_id": tenant}
        waits = a_run(tenant_id=tenant, id="run-3", status=RunStatus.WAITING)
        new = a_run(tenant_id=tenant, id="run-1")
        lettered = a_run(id="run-2", **ended)
        discarded = a_run(id="run-4", **ended)
        gone = a_run(id="run-5", **ended)
        with run_store.begin(tenant) as tx:
            for run in (waits, new, lettered, discarded, gone):
                tx.add_run(run)
            for run in (lettered, discarded):
                job = a_job(run)
                tx.add_jobs([job])
                letter = a_letter(job, id=f"letter-{run.id}")
                tx.add_dead_letter(letter)
                if run is discarded:
                    tx.save_dead_letter(letter, letter.move_to(LetterStatus.DISCARDED))
        unfinished += [new, lettered, waits]
    expected = sorted(unfinished, key=lambda run: (run.tenant_id, run.id))
    found: list[Run] = []
    place: RunKey | None = None
    while page := run_store.unfinished_runs(after=place, limit=2):
        found += page
        place = RunKey(page[-1].tenant_id, page[-1].id)
    assert found == expected

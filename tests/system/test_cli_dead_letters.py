"""`factory dead-letters`: what people see of jobs out of attempts, and what they do with them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cli.completion import complete_fingerprint, complete_letter
from cli.person import person
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.dead_letter import DeadLetter, LetterStatus
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.services.bodies import to_body
from factory_runtime.services.letters import Failure, bury
from tests.builders import a_job, a_letter, a_run
from tests.cli_home import T0, Factory, fail_run

WORDS = ("retry", "discard", "show")
REFUSED = "the host \x1b[31msays no to 'orders'"


def buried(runtime: Runtime, error: str = REFUSED, code: str = "host-rejected") -> DeadLetter:
    """A letter of a run that failed a day ago or so."""
    run = fail_run(runtime)
    with runtime.store.begin("local") as tx:
        stands = tx.lock_run(run.id)
        tx.save_run(stands, stands.changed(T0, flow_run_id=None))  # so that there can be several
        (job,) = (job for job in tx.list_jobs(run.id) if job.status is JobStatus.FAILED)
        failure = Failure(
            code,
            error,
            traceback=to_body(runtime.storage, "local", f"Traceback …\n{error}"),
            with_=to_body(runtime.storage, "local", {"repository": "orders", "token": "hunter2"}),
        )
        bury(tx, stands, job, failure, T0)
        letter = tx.find_dead_letter(run.id, job.step)
        assert letter is not None
    return letter


def another_letter_of_its_run(runtime: Runtime, letter: DeadLetter) -> DeadLetter:
    """As if another job of the run had failed beside the first one."""
    with runtime.store.begin("local") as tx:
        run = tx.lock_run(letter.run_id)
        second = next(job for job in tx.list_jobs(run.id) if job.status is JobStatus.SKIPPED)
        pending = second.move_to(JobStatus.PENDING, T0)
        claimed = pending.move_to(JobStatus.RUNNING, T0, attempt=1)
        failed = claimed.move_to(JobStatus.FAILED, T0, error="no")
        for before, after in pairwise((second, pending, claimed, failed)):
            tx.save_job(before, after)
        bury(tx, run, failed, Failure("other", "something else"), T0)
        found = tx.find_dead_letter(run.id, second.step)
    assert found is not None
    return found


def settle(runtime: Runtime, letter: DeadLetter) -> None:
    redriven = letter.move_to(LetterStatus.REDRIVEN)
    with runtime.store.begin("local") as tx:
        tx.lock_run(letter.run_id)
        tx.save_dead_letter(letter, redriven)
        tx.save_dead_letter(redriven, redriven.move_to(LetterStatus.RESOLVED))


def stands(runtime: Runtime, letter: DeadLetter) -> DeadLetter:
    with runtime.store.begin("local", read_only=True) as tx:
        return tx.get_dead_letter(letter.id)


@pytest.fixture
def letter(runtime: Runtime) -> DeadLetter:
    return buried(runtime)


# --- list


def test_nothing_waits(factory: Factory) -> None:
    for words in ((), ("--letters",), ("--all-tenants",)):
        said = factory("dead-letters", "list", *words)
        assert (said.code, said.out) == (0, "no dead letters\n")
    assert factory("dead-letters", "orders").out == "no orders\n"


def test_letters_are_grouped_by_kind_of_failure(factory: Factory) -> None:
    letters = [buried(factory.runtime) for _ in range(3)]
    other = buried(factory.runtime, "no such branch", "not-found")
    said = factory("dead-letters", "list")
    head, first, second = said.out.splitlines()
    assert head.split() == [
        "fingerprint", "letters", "runs", "first", "seen", "last", "seen", "job", "error",
    ]  # fmt: skip
    assert first.split()[:3] == [letters[0].fingerprint[:12], "3", "3"]
    assert "host-rejected: the host" in first
    assert second.split()[:3] == [other.fingerprint[:12], "1", "1"]
    groups = factory("dead-letters", "list", "--json").json["groups"]
    assert [group["letters"] for group in groups] == [3, 1]
    assert groups[0]["tenants"] == ["local"]


def test_who_runs_it_all_sees_all_tenants_and_a_tenant_its_own(
    factory: Factory, letter: DeadLetter
) -> None:
    mine = factory("dead-letters", "list", "--tenant", "umbrella", "--json")
    assert mine.json["groups"] == []
    all_of_them = factory("dead-letters", "list", "--all-tenants", "--tenant", "umbrella")
    assert "local" in all_of_them.out
    said = factory("dead-letters", "list", "--all-tenants", "--letters")
    assert said.code == 2
    assert factory("dead-letters", "show", letter.id, "--tenant", "umbrella").code == 3


def test_letters_of_a_kind_are_shown_one_by_one(factory: Factory, letter: DeadLetter) -> None:
    buried(factory.runtime, "no such branch", "not-found")
    said = factory("dead-letters", "list", "--fingerprint", letter.fingerprint[:6])
    assert letter.id in said.out
    assert len(said.out.splitlines()) == 2
    assert "\x1b" not in said.out
    assert len(factory("dead-letters", "list", "--letters").out.splitlines()) == 3
    short = factory("dead-letters", "list", "--letters", "--limit", "1").out
    assert "… and 1 more" in short
    rows = factory("dead-letters", "list", "--letters", "--json").json
    assert (len(rows["letters"]), rows["count"]) == (2, 2)


def test_closed_letters_are_shown_when_they_are_asked_for(
    factory: Factory, letter: DeadLetter
) -> None:
    factory("dead-letters", "discard", letter.id, "--reason", "gone")
    assert factory("dead-letters", "list", "--letters").out == "no dead letters\n"
    assert "discarded" in factory("dead-letters", "list", "--all").out


@pytest.mark.parametrize("fingerprint", ["", "abc", "zzzzzz", "x" * 64, "../../etc"])
def test_what_is_no_fingerprint_is_refused(factory: Factory, fingerprint: str) -> None:
    said = factory("dead-letters", "retry", "--fingerprint", fingerprint)
    assert said.code == 2
    assert "is no fingerprint" in said.err


def test_an_unknown_fingerprint_is_not_found(factory: Factory, letter: DeadLetter) -> None:
    unknown = "0" * 12 if not letter.fingerprint.startswith("0") else "1" * 12
    for words in (("list",), ("retry",), ("discard", "--reason", "x")):
        assert factory("dead-letters", *words, "--fingerprint", unknown).code == 3


# --- show


def test_a_letter_tells_why_and_what_can_be_done(factory: Factory, letter: DeadLetter) -> None:
    said = factory("dead-letters", "show", letter.id)
    assert said.code == 0
    for words in (
        f"{letter.step} of {letter.run_id}",
        "says no to 'orders'",
        "Traceback …",
        "repository  orders",
        f"factory dead-letters retry {letter.id}",
        f"factory dead-letters discard {letter.id} --reason TEXT",
    ):
        assert words in said.out
    assert "hunter2" not in said.out, "a terminal is looked at by many"
    assert "\x1b" not in said.out
    whole = factory("dead-letters", "show", letter.id, "--json").json
    assert whole["with"]["repository"] == "orders"
    assert whole["letter"]["id"] == letter.id
    assert whole["next"][0]["command"] == f"factory dead-letters retry {letter.id}"


def test_the_commands_of_another_tenants_page_name_it(factory: Factory) -> None:
    run = a_run(tenant_id="umbrella", status=RunStatus.FAILED)
    letter = a_letter(a_job(run))
    with factory.runtime.store.begin("umbrella") as tx:
        tx.add_run(run)
        tx.add_dead_letter(letter)
    page = factory("dead-letters", "show", letter.id, "--tenant", "umbrella", "--json").json
    commands = [one["command"] for one in page["next"]]
    assert commands[0] == f"factory dead-letters retry {letter.id} --tenant umbrella"
    assert all(command.endswith(" --tenant umbrella") for command in commands)


def test_what_was_tried_stands_on_the_page(factory: Factory, letter: DeadLetter) -> None:
    factory("dead-letters", "discard", letter.id, "--reason", "nobody wants it")
    said = factory("dead-letters", "show", letter.id)
    assert f"{person()}  dead-letter.discard: nobody wants it" in said.out
    assert "discarded: nobody wants it" in said.out
    factory("dead-letters", "retry", letter.id)
    page = factory("dead-letters", "show", letter.id).out
    assert f"{person()}  dead-letter.redrive" in page
    assert f"factory runs watch {letter.run_id}" in page


def test_a_run_that_is_being_undone_leaves_only_giving_up(
    factory: Factory, letter: DeadLetter
) -> None:
    with factory.runtime.store.begin("local") as tx:
        run = tx.lock_run(letter.run_id)
        tx.save_run(run, run.changed(T0, undo_requested_by="ada"))
    page = factory("dead-letters", "show", letter.id, "--json").json
    assert [one["command"].split()[2] for one in page["next"]] == ["discard"]
    said = factory("dead-letters", "retry", letter.id)
    assert said.code == 4
    assert "being undone for ada" in said.err


# --- retry


def test_a_letter_is_sent_round_again(factory: Factory, letter: DeadLetter) -> None:
    said = factory("dead-letters", "retry", letter.id)
    assert said.code == 0
    assert said.out.startswith(f"{letter.run_id}  Queued, cycle 1")
    assert stands(factory.runtime, letter).status is LetterStatus.REDRIVEN
    again = factory("dead-letters", "retry", letter.id)
    assert again.code == 4
    assert f"was sent round again by {person()}" in again.err


def test_one_bad_id_does_not_keep_the_others(factory: Factory, letter: DeadLetter) -> None:
    said = factory("dead-letters", "retry", "letter-0", letter.id, "--json")
    assert said.code == 3
    rows = said.json["runs"]
    assert [row["run_id"] for row in rows] == ["letter-0", letter.run_id]
    assert rows[0]["error"]["code"] == "dead-letter-not-found"
    assert rows[1]["run"]["status"] == "Queued"


def test_a_change_is_checked_before_anything_moves(factory: Factory, letter: DeadLetter) -> None:
    said = factory("dead-letters", "retry", letter.id, "--set", "nobody_knows=1")
    assert said.code == 2
    assert "nobody_knows" in said.err
    assert factory("dead-letters", "retry", letter.id, "--timeout", "soon").code == 2
    assert stands(factory.runtime, letter) == letter
    assert factory("dead-letters", "retry", letter.id, "--timeout", "2h").code == 0


def test_a_group_is_sent_round_by_the_beginning_of_its_fingerprint(factory: Factory) -> None:
    letters = [buried(factory.runtime) for _ in range(3)]
    said = factory("dead-letters", "retry", "--fingerprint", letters[0].fingerprint[:8], "--yes")
    assert said.code == 0
    assert "done: 3 of 3 sent round again" in said.out
    assert "factory up" in said.out, "nothing executes them here"
    assert {stands(factory.runtime, one).status for one in letters} == {LetterStatus.REDRIVEN}
    shown = factory("dead-letters", "orders").out.splitlines()[1].split()
    assert shown[1:6] == ["done", letters[0].fingerprint[:12], "3", "0", "3"]


def test_a_group_with_a_canary_sends_one_ahead(factory: Factory) -> None:
    letters = [buried(factory.runtime) for _ in range(3)]
    said = factory(
        "dead-letters",
        "retry",
        "--fingerprint",
        letters[0].fingerprint,
        "--canary",
        "--yes",
        "--json",
    )
    assert said.code == 0
    assert (said.json["order"]["status"], said.json["order"]["redriven"]) == ("canary", 1)
    moved = [one for one in letters if stands(factory.runtime, one) != one]
    assert [one.id for one in moved] == [said.json["order"]["canary_id"]]


def test_a_group_whose_letters_cannot_go_says_why(factory: Factory, letter: DeadLetter) -> None:
    said = factory(
        "dead-letters", "retry", "--fingerprint", letter.fingerprint, "--set", "nobody_knows=1",
        "--yes",
    )  # fmt: skip
    assert said.code == 4
    assert "0 of 1 sent round again, 1 cannot be" in said.out
    assert "nobody_knows" in said.out
    assert stands(factory.runtime, letter).status is LetterStatus.OPEN


def test_of_named_letters_those_that_are_settled_do_not_keep_the_others(factory: Factory) -> None:
    one = buried(factory.runtime)
    other = another_letter_of_its_run(factory.runtime, one)
    settle(factory.runtime, one)
    said = factory("dead-letters", "retry", one.id, other.id, "--json")
    assert said.code == 4
    rows = {row["run_id"]: row for row in said.json["runs"]}
    assert rows[one.id]["error"]["message"].endswith("is resolved")
    assert rows[one.run_id]["run"]["status"] == "Queued"
    assert stands(factory.runtime, other).status is LetterStatus.REDRIVEN


# --- letters that are chosen


def choose(what: str, letter: DeadLetter) -> tuple[str, ...]:
    wrong = "x" if what.startswith("other") else ""
    words = {
        "fingerprint": ("--fingerprint", letter.fingerprint[:8]),
        "type": ("--where", f"type={wrong}{letter.job_type}"),
        "template": ("--where", f"template={wrong}{letter.template_id}"),
        "project": ("--where", f"project={wrong}{letter.project_id}"),
        "since": ("--since", "1m" if wrong else "2026-01-01T00:00Z"),
        "until": ("--until", "2026-01-01T00:00Z" if wrong else "1m"),
    }
    return words[what.removeprefix("other ")]


@pytest.mark.parametrize("what", ["fingerprint", "type", "template", "project", "since", "until"])
def test_letters_are_chosen_shown_and_sent_round(
    factory: Factory, letter: DeadLetter, what: str
) -> None:
    words = choose(what, letter)
    shown = factory("dead-letters", "retry", *words, "--preview")
    assert shown.code == 0
    assert "1 dead letter to send round again:" in shown.out
    assert letter.id in shown.out
    told = factory("dead-letters", "discard", *words, "--reason", "x", "--preview", "--json").json
    assert (told["count"], [one["id"] for one in told["first"]]) == (1, [letter.id])
    unasked = factory("dead-letters", "retry", *words)
    assert unasked.code == 2
    assert "nobody is here to be asked" in unasked.err
    assert stands(factory.runtime, letter) == letter, "nothing has changed so far"
    said = factory("dead-letters", "retry", *words, "--yes", "--json")
    assert (said.code, said.json["order"]["status"], said.json["still_open"]) == (0, "done", 0)
    assert stands(factory.runtime, letter).status is LetterStatus.REDRIVEN


@pytest.mark.parametrize("what", ["type", "template", "project", "since", "until"])
def test_letters_that_are_not_chosen_are_left_alone(
    factory: Factory, letter: DeadLetter, what: str
) -> None:
    words = choose(f"other {what}", letter)
    assert "no dead letters like that" in factory("dead-letters", "retry", *words, "--preview").out
    assert factory("dead-letters", "retry", *words, "--yes").code == 3
    assert factory("dead-letters", "discard", *words, "--reason", "x", "--yes").code == 3
    assert stands(factory.runtime, letter) == letter


def test_letters_that_are_chosen_are_discarded(factory: Factory, letter: DeadLetter) -> None:
    words = ("--where", f"project={letter.project_id}", "--reason", "gone", "--yes")
    said = factory("dead-letters", "discard", *words)
    assert (said.code, said.out) == (0, "1 discarded\n")
    assert stands(factory.runtime, letter).reason == "gone"


def test_an_order_shows_what_it_changes_but_no_secret(factory: Factory, letter: DeadLetter) -> None:
    del letter
    changed = ("--set", "service_name=billing", "--set", "token=hunter2", "--yes")
    factory("dead-letters", "retry", "--where", "type=repo-generation", *changed)
    for words in (("orders",), ("orders", "--json")):
        said = factory("dead-letters", *words)
        assert "hunter2" not in said.out
        assert "billing" in said.out


def test_an_order_that_waits_for_its_canary_is_stopped(factory: Factory) -> None:
    letters = [buried(factory.runtime) for _ in range(2)]
    words = ("--fingerprint", letters[0].fingerprint, "--canary", "--yes", "--json")
    order = factory("dead-letters", "retry", *words).json["order"]["id"]
    said = factory("dead-letters", "stop", order, "--reason", "the host is down again")
    assert (said.code, said.out) == (0, f"{order}  stopped: 1 of 2 were sent round again\n")
    shown = factory("dead-letters", "orders", "--json").json["orders"][0]
    assert shown["error"] == f"stopped by {person()}: the host is down again"
    assert factory("dead-letters", "stop", order, "--reason", "x").code == 4
    assert factory("dead-letters", "stop", "order-0", "--reason", "x").code == 3


def test_letters_of_a_kind_that_has_none_open_are_listed(
    factory: Factory, letter: DeadLetter
) -> None:
    factory("dead-letters", "discard", letter.id, "--reason", "gone")
    said = factory("dead-letters", "list", "--all", "--fingerprint", letter.fingerprint[:8])
    assert said.code == 0
    assert letter.id in said.out


# --- discard


def test_a_letter_is_discarded_for_a_reason(factory: Factory, letter: DeadLetter) -> None:
    assert factory("dead-letters", "discard", letter.id).code == 2
    assert factory("dead-letters", "discard", letter.id, "--reason", " ").code == 2
    assert stands(factory.runtime, letter) == letter
    said = factory("dead-letters", "discard", letter.id, "--reason", "nobody wants it")
    assert (said.code, said.out) == (0, f"{letter.id}  discarded\n")
    closed = stands(factory.runtime, letter)
    assert (closed.closed_by, closed.reason) == (person(), "nobody wants it")
    assert factory("dead-letters", "discard", letter.id, "--reason", "x").code == 4


def test_a_group_is_discarded(factory: Factory) -> None:
    letters = [buried(factory.runtime) for _ in range(2)]
    said = factory(
        "dead-letters", "discard", "--fingerprint", letters[0].fingerprint[:8], "--reason", "x",
        "--yes", "--json",
    )  # fmt: skip
    assert said.code == 0
    assert said.json == {"discarded": 2, "refused": 0, "error": None}


def test_discarding_with_undo_asks_for_the_undo_of_the_run(
    factory: Factory, letter: DeadLetter
) -> None:
    said = factory("dead-letters", "discard", letter.id, "--reason", "x", "--undo", "--json")
    assert said.code == 0
    assert said.json["discarded"][0]["status"] == "discarded"
    with factory.runtime.store.begin("local", read_only=True) as tx:
        assert tx.get_run(letter.run_id).undo_requested_by == person()


# --- bad usage


@pytest.mark.parametrize(
    "words",
    [
        ("retry",),
        ("retry", "letter-1", "--fingerprint", "abcdef"),
        ("retry", "letter-1", "--canary"),
        ("retry", "--fingerprint", "abcdef", "--watch"),
        ("retry", "--where", "type=act", "--canary"),
        ("retry", "letter-1", "--preview"),
        ("retry", "letter-1", "--yes"),
        ("retry", "letter-1", "--where", "type=act"),
        ("retry", "--where", "status=open"),
        ("retry", "--where", "type"),
        ("retry", "--where", "type= ", "--yes"),
        ("retry", "--where", "type=a", "--where", "type=b"),
        ("retry", "--since", "yesterday"),
        ("stop", "order-1"),
        ("discard", "--reason", "x"),
        ("discard", "letter-1", "--fingerprint", "abcdef", "--reason", "x"),
        ("list", "--limit", "0"),
    ],
    ids=" ".join,
)
def test_bad_usage_changes_nothing(
    factory: Factory, letter: DeadLetter, words: tuple[str, ...]
) -> None:
    assert factory("dead-letters", *words).code == 2
    assert stands(factory.runtime, letter) == letter


@pytest.mark.parametrize("word", WORDS)
def test_an_unknown_letter_is_not_found_and_no_traceback(factory: Factory, word: str) -> None:
    more = ("--reason", "x") if word == "discard" else ()
    said = factory("dead-letters", word, "letter-1", *more, "--json")
    assert said.code == 3
    assert '"code": "dead-letter-not-found"' in said.err


def test_ids_and_fingerprints_are_offered(factory: Factory, letter: DeadLetter) -> None:
    assert factory.runtime.store is not None
    assert complete_letter("letter-") == [letter.id]
    assert complete_fingerprint(letter.fingerprint[:2]) == [letter.fingerprint[:12]]
    assert complete_letter("x") == complete_fingerprint("x") == []

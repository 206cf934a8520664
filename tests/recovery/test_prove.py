"""`factory prove`: every point of every job is killed for real, and what goes wrong is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.prove.points import CRASH_POINTS
from factory_runtime.compiler.plan import compile_plan
from tests.factory import FACTORY, Factory, until
from tests.prefect_database import place_database
from tests.recipes import DELIVERY
from tests.warm_cli import nursery
from tests.work_types import a_work_template, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 580
SERVICE = {"service_name": "orders", "entities": ["customer", "product"]}

Place = tuple[str, str, str | None]
"""Job, point and effect of a row."""


@dataclass(frozen=True)
class Proved:
    """What a proof answered.

    Attributes:
        rows: by place.
        litter: what is left in the folder for temporary files.
    """

    code: int
    document: Mapping[str, Any]
    rows: Mapping[Place, Mapping[str, Any]]
    litter: list[str]


class Prover:
    """Types `factory prove` at a home of its own."""

    def __init__(self, folder: Path, *job_types: str) -> None:
        self.factory = Factory(folder)
        # Not the test's own folder: its path may be too long for a socket.
        self.temporary = Path(tempfile.mkdtemp(prefix="proofs-"))
        weakref.finalize(self, shutil.rmtree, self.temporary)
        self.job_types = job_types
        self.database = folder / "prefect" / "prefect.db"
        place_database(self.database.parent)

    def litter(self) -> list[str]:
        """What is left in the folder for temporary files."""
        return [place.name for place in self.temporary.iterdir()]

    def environment(self) -> dict[str, str]:
        return self.factory.environment() | {
            "TMPDIR": str(self.temporary),
            "FACTORY_JOB_TYPES": json.dumps(self.job_types),
            "PYTHONPATH": str(ROOT),
            # Ready-made; the sandbox's server would take seven seconds to make its own.
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.database}",
        }

    def prove(
        self,
        template: str,
        inputs: Mapping[str, Any],
        *options: str,
        seconds: float = LIMIT_SECONDS,
    ) -> Proved:
        done = subprocess.run(
            [nursery().factory, "prove", template, "--inputs", "-", "--json", *options],
            env=self.environment(),
            input=json.dumps(inputs),
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        rows = {(row["job"], row["point"], row["effect"]): row for row in document["rows"]}
        assert len(rows) == len(document["rows"]), "a row stands twice"
        return Proved(done.returncode, document, rows, self.litter())


def places(job: str, *effects: str) -> set[Place]:
    """Every point of a job that has these effects."""
    around: set[Place] = {
        (job, point, effect) for effect in effects for point in ("before-effect", "after-effect")
    }
    return around | {(job, point, None) for point in ("claimed", "before-commit", "after-commit")}


def failures(proved: Proved) -> dict[Place, list[str]]:
    """What did not hold."""
    return {place: row["differs"] for place, row in proved.rows.items() if row["outcome"] != "held"}


@pytest.mark.soak
def test_a_microservice_killed_at_every_point_of_every_job_loses_and_doubles_nothing(
    tmp_path: Path,
):
    prover = Prover(tmp_path)
    proved = prover.prove("microservice", SERVICE)
    assert failures(proved) == {}
    assert (proved.code, proved.document["failed"], proved.document["varying"]) == (0, 0, [])
    assert proved.document["undisturbed"]["run"] == "Succeeded"

    runtime = prover.factory.runtime
    types = {name: job_type.facts for name, job_type in runtime.job_types.items()}
    plan = compile_plan(runtime.catalog.load("microservice"), SERVICE, types)
    wanted = set[Place]()
    for job in plan.jobs:
        made = ("repository", "commit") if job.step == "generate-repo" else ("commit",)
        wanted |= places(job.name, *(() if job.step in DELIVERY else made))
    assert set(proved.rows) == wanted
    assert {job for job, _, _ in proved.rows} >= {"apply-domain[customer]", "apply-domain[product]"}
    for place in wanted:
        row = proved.rows[place]
        assert row["killed"]
        assert row["attempts"] == 1 if place[1] == "after-commit" else row["attempts"] > 1
    assert proved.litter == []
    assert not prover.factory.settings.root.exists(), "the home of the one who proves is left alone"


@pytest.mark.soak
@pytest.mark.parametrize(
    "points",
    [("after-effect", "before-commit"), ("before-effect", "after-effect", "before-commit")],
    ids=["after the effect", "around the effect"],
)
def test_what_a_careless_job_type_doubles_is_found_and_named(points: Sequence[str], tmp_path: Path):
    prover = Prover(tmp_path, "tests.work_types", "tests.careless_types")
    file = tmp_path / "lines"
    prover.factory.template(
        "careless",
        a_work_template(
            "careless",
            "name: double, type: doubling, with: {repository: goods}",
            "name: moody, type: moody, needs: [double], with: {repository: goods}",
            f"name: line, type: touch, needs: [moody], with: {{file: {file}}}",
        ),
    )
    proved = prover.prove("careless", {}, *(f"--point={point}" for point in points))
    assert proved.code == 1
    assert {place for place in proved.rows if place[0] == "line"} == {
        place for place in places("line", "line") if place[1] in points
    }, "what a type does by itself has its points as well"
    found = failures(proved)
    doubled: set[Place] = {("double", "after-effect", "commit"), ("double", "before-commit", None)}
    missed: set[Place] = {
        place for place in places("moody", "repository") if place[2] and place[1] in points
    }
    assert set(found) == doubled | missed
    assert proved.document["failed"] == len(found)
    for place in doubled:
        assert "goods has 2 commits of double" in found[place]
        assert proved.rows[place]["checks"]["effects"] is False
    for place in missed:
        assert found[place] == ["the run ended, and this point never came"]
        assert not proved.rows[place]["killed"]
    # Two undisturbed runs; of the others, those come to their end whose commit is not doubled.
    lines = lines_of(file)
    assert len(lines) == len(set(lines)) == 2 + len(proved.rows) - len(doubled)
    assert proved.litter == []


WITH_UNDOS = a_work_template(
    "undoing",
    "name: make, type: repo-generation, undo: delete-repository,"
    " with: {repository: goods, source: files}",
    "name: keep, type: repo-generation, needs: [make], undo: revert-commit,"
    " with: {repository: others, source: files}",
)


@pytest.mark.soak  # without processes: tests/unit/services/test_undo_kills.py
@pytest.mark.parametrize("points", [[point.value for point in CRASH_POINTS]], ids=["every point"])
def test_an_undo_killed_at_any_point_takes_everything_back_once(
    points: Sequence[str], tmp_path: Path
):
    prover = Prover(tmp_path)
    prover.factory.template("undoing", WITH_UNDOS, {"files/copier.yml": "", "files/a": "a"})
    proved = prover.prove("undoing", {}, "--undo", *(f"--point={point}" for point in points))
    assert failures(proved) == {}
    assert (proved.code, proved.document["failed"], proved.document["undo"]) == (0, 0, True)
    removed, reverted = places("undo-make", "undo-repository"), places("undo-keep", "undo-commit")
    assert set(proved.rows) == {place for place in removed | reverted if place[1] in points}
    assert all(row["killed"] and row["run"] == "Succeeded" for row in proved.rows.values())
    assert proved.litter == []


@pytest.mark.soak
def test_an_interrupted_proof_leaves_no_process_and_no_folder(tmp_path: Path):
    prover = Prover(tmp_path, "tests.work_types")
    begun = tmp_path / "begun"
    prover.factory.template(
        "long",
        a_work_template(
            "long",
            f"name: wait, type: sleep, with: {{seconds: 200, child: true, file: {begun}}}",
        ),
    )
    process = subprocess.Popen(
        [FACTORY, "prove", "long"],
        env=prover.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until(lambda: lines_of(begun), "a job is under way")
    below = psutil.Process(process.pid).children(recursive=True)
    assert int(lines_of(begun)[0]) in {one.pid for one in below}
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.decode().strip()) == (1, "interrupted")
    _, left = psutil.wait_procs(below, timeout=20)
    assert left == []
    assert prover.litter() == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["microservice", "--set", "service_name=orders", "--point", "nowhere"], "input"),
        (["microservice", "--set", "service_name=NOT A NAME"], "invalid-inputs"),
        (["no-such-template"], "unknown-template"),
    ],
)
def test_bad_input_is_refused_before_anything_is_started(
    words: list[str], code: str, tmp_path: Path
):
    prover = Prover(tmp_path)
    done = subprocess.run(
        [nursery().factory, "prove", *words, "--json"],
        env=prover.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    error = json.loads(done.stderr)["error"]
    assert code in error["code"]
    assert "run_id" not in error, "it would be recorded in a folder that is gone"
    assert prover.litter() == []


def test_a_temporary_folder_too_far_down_for_sockets_is_told(tmp_path: Path):
    prover = Prover(tmp_path)
    deep = prover.temporary / ("x" * 80)
    deep.mkdir()
    done = subprocess.run(
        [nursery().factory, "prove", "microservice", "--set", "service_name=orders"],
        env=prover.environment() | {"TMPDIR": str(deep)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "set TMPDIR" in done.stderr
    assert list(deep.iterdir()) == []


# --- the other templates, by `make soak`


@pytest.mark.soak
@pytest.mark.parametrize(
    "inputs",
    [
        {"service_name": "orders"},
        {"service_name": "orders", "entities": ["order"], "database": "none"},
    ],
    ids=["no entities", "no database"],
)
def test_other_microservices_hold_as_well(inputs: Mapping[str, Any], tmp_path: Path):
    proved = Prover(tmp_path).prove("microservice", inputs)
    assert (proved.code, failures(proved)) == (0, {})


@pytest.mark.soak
def test_the_undo_of_a_microservice_killed_at_every_point_leaves_nothing(tmp_path: Path):
    proved = Prover(tmp_path).prove("microservice", SERVICE, "--undo")
    assert (proved.code, failures(proved)) == (0, {})
    assert len(proved.rows) == 5 * 6


@pytest.mark.soak
def test_a_job_that_goes_on_from_its_checkpoint_counts_no_number_twice(tmp_path: Path):
    prover = Prover(tmp_path, "tests.work_types")
    file = tmp_path / "numbers"
    prover.factory.template(
        "counting",
        a_work_template(
            "counting",
            f"name: count, type: count, with: {{to: 5, file: {file}}}",
            f"name: line, type: touch, needs: [count], with: {{file: {tmp_path / 'lines'}}}",
            f"name: busy, type: flaky, needs: [line], with: {{file: {tmp_path / 'b'}, times: 0}}",
        ),
    )
    proved = prover.prove("counting", {})
    assert (proved.code, failures(proved)) == (0, {})
    assert set(proved.rows) == places("count") | places("line", "line") | places("busy")
    # Killed anywhere, a run counts to five once: two undisturbed ones, and one for each row.
    assert sorted(lines_of(file)) == sorted("12345" * (2 + len(proved.rows)))


@pytest.mark.soak
def test_failing_jobs_continue_or_fall_back_as_without_a_kill(tmp_path: Path):
    prover = Prover(tmp_path, "tests.work_types", "tests.careless_types")
    file = tmp_path / "lines"
    prover.factory.template(
        "failing",
        a_work_template(
            "failing",
            "name: bad, type: refusing, on_failure: continue, with: {}",
            "name: worse, type: refusing, on_failure: {fallback: instead}, with: {}",
            f"name: instead, type: touch, with: {{file: {file}}}",
            f"name: after, type: touch, needs: [bad, worse], with: {{file: {file}}}",
            "name: spared, type: refusing, needs: [after], when: '${{ 1 > 2 }}', with: {}",
        ),
    )
    proved = prover.prove("failing", {})
    assert (proved.code, proved.document["failed"]) == (0, 0)
    assert proved.document["undisturbed"]["run"] == "Succeeded"
    outcomes = {place: row["outcome"] for place, row in proved.rows.items()}
    skipped: set[Place] = {("spared", "claimed", None)}
    assert {place for place, outcome in outcomes.items() if outcome == "skipped"} == skipped
    wanted = places("bad") | places("worse") | places("instead", "line") | places("after", "line")
    assert set(proved.rows) == wanted | places("spared")
    lines = lines_of(file)
    assert len(lines) == len(set(lines)) == 2 * (2 + len(proved.rows) - len(skipped))

"""Bad input, typed as a person would: one clear message, the right exit code, a Failed record."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from deployments.stack import read_state
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunFilter
from tests.factory import FACTORY, Factory, git, until
from tests.prefect_database import place_database
from tests.recipes import COPIER, a_source, a_template
from tests.renders import renders_below
from tests.warm_cli import nursery

pytestmark = pytest.mark.slow


def a_named_file(name: str) -> dict[str, str | bytes]:
    """A source with a file whose rendered name is this."""
    copier = f"{COPIER}evil: {{type: str, default: '{name}'}}\n"
    return {"files/base/copier.yml": copier, "files/base/content/{{ evil }}": "x"}


# name → files of the source, and what the message must say of it
HOSTILE: dict[str, tuple[dict[str, str | bytes], str]] = {
    "ssti": (a_source("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "__class__"),
    "globals": (a_source("{{ cycler.__init__.__globals__.os.popen('id').read() }}"), "unsafe"),
    "absolute-name": (a_named_file("/tmp/evil"), "/tmp/evil"),  # noqa: S108 - what it asks for
    "climbing-name": (a_named_file("../../evil"), "../../evil"),
    "climbing-include": (a_source("{% include '../../../../etc/passwd' %}"), "etc/passwd"),
    "tasks": (a_source() | {"files/base/copier.yml": COPIER + "_tasks: ['touch /tmp/evil']\n"},
              "_tasks"),
    "fileglob": (a_source("{{ '/etc/*' | fileglob }}"), "fileglob"),
    "endless": (a_source("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
                         "{% endfor %}"), "limit"),
    "huge-file": (a_source("{% for a in range(99999) %}{{ 'x' * 40000 }}{% endfor %}"), "limit"),
    "huge-text": (a_source("{{ 'x' * 10**10 }}"), "limit"),
}  # fmt: skip

SOME = ("ssti", "absolute-name", "climbing-include", "tasks", "huge-text")
"""One of each kind. All of them, and more, are tried in tests/system/test_render_box.py as well."""


def last_run(factory: Factory, project: str) -> Run:
    with factory.runtime.store.begin("local", read_only=True) as tx:
        return tx.list_runs(RunFilter(project_id=project), limit=1).items[0]


@pytest.mark.parametrize("names", [SOME, pytest.param(tuple(HOSTILE), marks=pytest.mark.soak)])
def test_hostile_templates_fail_their_run_and_touch_nothing(factory: Factory, names: Sequence[str]):
    hostile, template = {name: HOSTILE[name] for name in names}, f"hostile-{len(names)}"
    files = a_source()
    steps: list[str] = []
    for name, (source, _) in hostile.items():
        folder = f"files/{name}"
        files |= {path.replace("files/base", folder, 1): text for path, text in source.items()}
        made = f"{{repository: {name}, source: {folder}}}"
        steps.append(f"  - {{name: {name}, type: repo-generation, with: {made}}}")
    factory.template(template, a_template(template, *steps), files)
    done = factory.cli("run", template, "--set", "name=svc", "--project", template)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert str(factory.settings.scratch_folder) not in said
    run = last_run(factory, template)
    assert run.status is RunStatus.FAILED
    jobs = factory.jobs(run)
    assert jobs["base"].status is JobStatus.SUCCEEDED
    for name, (_, says) in hostile.items():
        error = str(jobs[name].error)
        assert says in error
        assert re.search(rf"^\S+ +{name} +Failed ", said, re.MULTILINE), said
        assert error in said
    assert not Path("/tmp/evil").exists()  # noqa: S108 - what the templates try to write
    assert factory.child is not None
    child = psutil.Process(factory.child.pid)
    # What waits for a render has told of its end a moment before its own.
    until(lambda: not renders_below(child), "nothing is left of a render", 5)
    assert not list(factory.settings.scratch_folder.iterdir())


@pytest.mark.parametrize(
    ("link", "target"), [("in", "/etc/passwd"), ("out", "../../../../outside")]
)
def test_a_source_with_a_link_that_leaves_is_refused_at_once(
    factory: Factory, link: str, target: str
):
    name = f"link-{link}"
    folder = factory.template(name, a_template(name), a_source())
    (folder / "files/base/content/link.txt").symlink_to(target)
    done = factory.cli("run", name, "--set", "name=svc", "--project", name)
    assert done.returncode == 2, done.stdout + done.stderr
    assert target in done.stderr
    assert "Traceback" not in done.stderr
    assert last_run(factory, name).status is RunStatus.FAILED


def test_all_wrong_inputs_are_named_at_once(factory: Factory):
    done = factory.cli(
        "run", "microservice", "--set", "service_nam=x", "--set", "port=abc", "--project", "wrong"
    )
    assert done.returncode == 2
    for says in ("service_nam ", "did you mean 'service_name'", "port", "service_name is missing"):
        assert says in done.stderr
    run = last_run(factory, "wrong")
    assert run.status is RunStatus.FAILED
    assert "service_name is missing" in str(run.error)


def test_an_unknown_template_is_refused_with_a_suggestion(factory: Factory):
    done = factory.cli("run", "microservise", "--project", "unknown", "--json")
    assert done.returncode == 2
    assert "microservice" in json.loads(done.stderr)["error"]["hint"]
    assert last_run(factory, "unknown").status is RunStatus.FAILED


def test_a_template_with_a_cycle_is_refused_with_the_whole_cycle(factory: Factory):
    steps = [
        "  - {name: one, type: template-layer, needs: [two], with: {repository: r, source: files/base}}",
        "  - {name: two, type: template-layer, needs: [one], with: {repository: r, source: files/base}}",
    ]
    factory.template("circle", a_template("circle", *steps), a_source())
    done = factory.cli("run", "circle", "--set", "name=svc", "--project", "circle")
    assert done.returncode == 2
    assert "one → two → one" in done.stderr
    assert last_run(factory, "circle").status is RunStatus.FAILED


def test_an_edited_published_version_is_a_conflict(factory: Factory):
    factory.template("edited", a_template("edited"), a_source("edited one\n"))
    assert factory.cli("run", "edited", "--set", "name=svc", "--project", "edited").returncode == 0
    factory.template("edited", a_template("edited"), a_source("edited two\n"))
    done = factory.cli("run", "edited", "--set", "name=svc", "--project", "edited")
    assert done.returncode == 4
    assert "edited 1.0.0" in done.stderr
    assert "version" in done.stderr
    assert last_run(factory, "edited").status is RunStatus.FAILED


def test_a_repository_that_is_not_ours_is_left_alone(factory: Factory):
    factory.template("taken", a_template("taken"), a_source())
    place = factory.settings.git_folder / "local" / "taken" / "svc.git"
    place.parent.mkdir(parents=True)
    git("init", "--quiet", "--bare", place)
    before = sorted(path.name for path in place.iterdir())
    done = factory.cli("run", "taken", "--set", "name=svc", "--project", "taken")
    assert done.returncode == 1
    assert "taken/svc" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(path.name for path in place.iterdir()) == before


def test_people_s_commits_are_not_written_over(factory: Factory, tmp_path: Path):
    factory.template("people", a_template("people"), a_source())
    asked = ("run", "people", "--set", "name=svc", "--project", "people")
    assert factory.cli(*asked).returncode == 0
    place = factory.settings.git_folder / "local" / "people" / "svc.git"
    git("clone", "--quiet", place, tmp_path / "svc")
    (tmp_path / "svc" / "mine.txt").write_text("mine\n")
    git("add", ".", cwd=tmp_path / "svc")
    git("-c", "user.name=Me", "-c", "user.email=me@localhost", "commit", "-qm", "My work",
        cwd=tmp_path / "svc")  # fmt: skip
    git("push", "--quiet", cwd=tmp_path / "svc")
    head = git("rev-parse", "main", cwd=place)
    done = factory.cli(*asked)
    assert done.returncode == 1
    assert head[:7] in done.stdout + done.stderr
    assert git("rev-parse", "main", cwd=place) == head


def test_a_database_that_is_not_one_is_named_and_nothing_is_changed(
    factory: Factory, tmp_path: Path
):
    (tmp_path / "factory.db").write_bytes(b"not a database at all" * 100)
    done = factory.cli("runs", "list", home=tmp_path)
    assert done.returncode == 5
    assert str(tmp_path / "factory.db") in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "factory.db").read_bytes().startswith(b"not a database")


def test_a_home_that_cannot_be_made_is_named_with_the_fix(factory: Factory, tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = factory.cli(
        "run", "microservice", "--set", "service_name=orders", home=tmp_path / "file" / "home"
    )
    assert done.returncode == 5
    assert str(tmp_path / "file" / "home") in done.stderr
    assert "FACTORY_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_fails_with_the_folder_and_the_fix(factory: Factory, tmp_path: Path):
    # RLIMIT_FSIZE stands for a full disk: every file stops growing at 200 KiB.
    command = 'ulimit -f 200; exec "$0" run microservice --set service_name=orders'
    done = subprocess.run(
        ["bash", "-c", command, str(FACTORY)],
        env=factory.environment(tmp_path / "full"), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 5, done.stdout + done.stderr
    assert str(tmp_path / "full") in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("server", ["given", pytest.param("own", marks=pytest.mark.soak)])
def test_ctrl_c_cancels_the_run_leaves_no_child_and_a_second_try_works(
    factory: Factory, tmp_path: Path, server: str
):
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    factory.template("interrupted", a_template("interrupted"), a_source(endless))
    asked = [str(FACTORY), "run", "interrupted", "--set", "name=svc"]
    home = tmp_path / "home"  # with no stack up: the command starts one, and has to end it
    place_database(home / "prefect")
    state = read_state(factory.settings)
    assert state is not None
    given = factory.environment(home) | {"FACTORY_PREFECT_API_URL": state.api_url}
    with subprocess.Popen(
        asked, env=factory.environment(home) if server == "own" else given, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as child:  # fmt: skip
        top = psutil.Process(child.pid)

        until(lambda: renders_below(top), "the render runs")
        below = top.children(recursive=True)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 1, out + err
    assert "ancelled" in out + err
    assert "Traceback" not in out + err
    until(lambda: not any(p.is_running() for p in below), "no child is left", 10)
    shown = factory.cli("runs", "list", "--json", home=home)
    assert [run["status"] for run in json.loads(shown.stdout)["runs"]] == ["Cancelled"]
    factory.template("interrupted", a_template("interrupted", version="1.0.1"), a_source())
    again = subprocess.run(
        [nursery().factory, *asked[1:]],
        env=given, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr

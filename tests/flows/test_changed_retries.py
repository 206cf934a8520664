"""A failed run goes round again with a mended template and other inputs, on the whole stack."""

from __future__ import annotations

import pytest

from factory_runtime.domain.job import SkipReason
from factory_runtime.domain.run import RunStatus
from tests.factory import Factory, git
from tests.recipes import a_layer, a_source, a_template

pytestmark = pytest.mark.slow


def a_noted_layer(name: str, needs: str) -> list[str]:
    """A layer that writes down the run's note."""
    repository = "${{ steps.base.outputs.repository }}"
    data = "{note: '${{ inputs.note }}'}"
    return [
        f"  - name: {name}",
        "    type: template-layer",
        f"    needs: [{needs}]",
        f"    with: {{repository: '{repository}', source: files/{name}, data: {data}}}",
    ]


def a_noted_source(name: str, text: str) -> dict[str, str | bytes]:
    folder = f"files/{name}"
    return {
        f"{folder}/copier.yml": "_subdirectory: content\nnote: {type: str, default: x}\n",
        f"{folder}/content/{name}.txt.jinja": text,
    }


def test_a_run_goes_on_to_succeed_with_a_mended_template_and_other_inputs(factory: Factory):
    fine = a_layer("fine", "files/fine")
    fine_source: dict[str, str | bytes] = {
        "files/fine/copier.yml": "_subdirectory: content\n",
        "files/fine/content/fine.txt": "fine\n",
    }
    broken = [*a_noted_layer("broken", "base, fine"), *a_noted_layer("gone", "broken")]
    sources = a_source() | fine_source | a_noted_source("gone", "gone\n")
    factory.template(
        "mending",
        a_template("mending", *fine, *broken),
        sources | a_noted_source("broken", "{{ missing.attribute }}"),
    )
    run = factory.complete("mending", "mending", name="svc", note="old")
    assert (run.status, run.error) == (RunStatus.FAILED, "failed: broken")
    before = factory.jobs(run)
    place = factory.settings.git_folder / "local" / "mending" / "svc.git"
    commits = git("log", "--format=%H", "main", cwd=place).split()
    assert len(commits) == 2

    mended = [*a_noted_layer("broken", "base, fine"), *a_noted_layer("more", "broken")]
    factory.template(
        "mending",
        a_template("mending", *fine, *mended, version="1.0.1"),
        a_noted_source("broken", "{{ note }}\n") | a_noted_source("more", "more {{ note }}\n"),
    )
    words = ("--template-version", "1.0.1", "--set", "note=new", "--timeout", "20m")
    said = factory.cli("runs", "retry", run.id, *words)
    assert said.returncode == 0, said.stderr
    ended = factory.wait(run)

    assert (ended.status, ended.error, ended.cycle) == (RunStatus.SUCCEEDED, None, 1)
    assert (ended.template_version, ended.flow_run_id) == ("1.0.1", run.flow_run_id)
    jobs = factory.jobs(run)
    assert {name: job.skip_reason or job.status for name, job in jobs.items()} == {
        "base": "Succeeded",
        "fine": "Succeeded",
        "broken": "Succeeded",
        "more": "Succeeded",
        "gone": SkipReason.NOT_PLANNED,
    }
    for name in ("base", "fine"):
        assert jobs[name] == before[name]
    after = git("log", "--reverse", "--format=%H", "main", cwd=place).split()
    assert (after[:2], len(after)) == (commits[::-1], 4)
    assert git("show", "main:broken.txt", "main:more.txt", cwd=place) == "new\nmore new\n"

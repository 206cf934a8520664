"""What people see of a template in Prefect's UI: its form, its runs, and what these made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from deployments.stack import read_state
from factory_runtime.domain.run import PREFECT, Run, RunStatus
from factory_runtime.orchestration.work_pool import WORK_POOL
from tests.browser import Window, chromium, open_window
from tests.deployed import TENANT, deploy
from tests.factory import Factory, git, until
from tests.prefect_server import Prefect
from tests.warm_worker import WarmWorker

pytestmark = pytest.mark.slow

ENTITIES = ["customer", "order-line"]
FIELDS = [
    "Service name",
    "Description (Optional)",
    "Owner (Optional)",
    "Entities (Optional)",
    "Database (Optional)",
    "Port (Optional)",
    "Pipelines (Optional)",
]
SHOWN = {"progress", "microservice-summary", "microservice-artifacts", "repository-1"}

IN_VAIN = {"sr-client-cfg.amplitude.com"}
"""Whom the UI asks how to count its users, whatever a server's settings say; it needs no answer."""

ITS_OWN = {"id", "project_id", "flow_run_id", "requested_by", "trace_id", "correlation_id"}
HOW_IT_WENT = {"version", "span_id", "worker", "cached", "cpu_seconds", "peak_memory_bytes"}
"""The second of two runs finds what the first has rendered."""


@pytest.fixture(scope="module")
def root(factory: Factory) -> str:
    state = read_state(factory.settings)
    assert state is not None
    return state.ui_url


@pytest.fixture(scope="module")
def deployment_id(factory: Factory, prefect: Prefect) -> str:
    del prefect  # it has this thread's Prefect talk to the stack's
    return deploy(factory, "microservice", project_id="by-form").deployment.prefect_id


@pytest.fixture
def worker(factory: Factory, prefect: Prefect, tmp_path: Path) -> Iterator[WarmWorker]:
    """It looks for runs of the work pool; whose they are, it is not told."""
    theirs = {"FACTORY_TENANT": "of-the-settings", "FACTORY_PROJECT": "of-the-settings"}
    # What a run leaves is drained by the stack's executor, which has LanceDB imported already.
    theirs["FACTORY_HOOKS"] = "false"
    worker = WarmWorker(factory.environment() | theirs, tmp_path, prefect, WORK_POOL)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def window(root: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    with open_window(root, tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def form(window: Window, deployment_id: str) -> Page:
    """As somebody does who finds the deployment in the UI; an empty one each time."""
    page = window.page
    if deployment_id in page.url:  # without loading the whole of the UI again
        page.get_by_role("link", name=TENANT, exact=True).first.click()
    else:
        window.open(f"/v2/deployments/deployment/{deployment_id}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_label("Service name").wait_for()
    return page


def test_the_stack_serves_the_ui_and_tells_it_where_its_api_is(root: str) -> None:
    settings = httpx.get(f"{root}/ui-settings").json()
    assert settings["api_url"] == "/api", "that of the host that its page came from"
    assert settings["default_ui"] == "v2"
    assert "Prefect" in httpx.get(f"{root}/v2/").text


def test_the_form_shows_typed_fields_and_refuses_bad_values(
    window: Window, form: Page, prefect: Prefect, deployment_id: str
) -> None:
    before, page = flow_runs(prefect, deployment_id), form
    labels = [label.inner_text() for label in page.locator("form label").all()]
    assert [label for label in labels if label in FIELDS] == FIELDS
    expect(page.get_by_label("Owner")).to_have_value("platform")
    expect(page.get_by_label("Port")).to_have_attribute("type", "number")
    expect(page.get_by_label("Port")).to_have_value("8000")
    page.get_by_label("Select Database").click()
    assert page.get_by_role("option").all_inner_texts() == ["postgres", "none"]
    page.keyboard.press("Escape")
    expect(page.get_by_label("Remove github-actions tag")).to_be_visible()
    page.get_by_label("Service name").fill("Bad Name")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("form").get_by_text("'Bad Name' does not match")).to_be_visible()
    page.get_by_label("Service name").fill("good-name")
    page.get_by_label("Port").fill("80")
    page.get_by_role("button", name="Submit").click()
    assert not page.get_by_label("Port").evaluate("field => field.validity.valid")
    assert flow_runs(prefect, deployment_id) == before
    assert {urlsplit(url).hostname for url in window.outside} <= IN_VAIN


def test_a_run_from_the_form_is_the_run_that_the_command_line_makes(
    factory: Factory, prefect: Prefect, worker: WarmWorker, window: Window, form: Page
) -> None:
    del form
    worker.wait_until_started()
    flow_run_id = run_by_form(window)
    see_it_complete(window)
    until(lambda: artifact_keys(prefect, flow_run_id) >= SHOWN, "Prefect has what the run made")
    see_what_it_made(window, factory.settings.root)
    by_form = found_by_flow_run(factory, flow_run_id)
    inputs = ["--set", "service_name=orders", "--set", f"entities={','.join(ENTITIES)}"]
    words = ["run", "microservice", "--tenant", TENANT, "--project", "by-command", "--json"]
    typed = factory.cli(*words, *inputs, "--set", "port=8080", "--set", "database=none")
    assert typed.returncode == 0, typed.stderr
    by_command = found(factory, json.loads(typed.stdout)["run"]["id"])
    assert by_form.status is RunStatus.SUCCEEDED
    assert by_form.requested_by == PREFECT != by_command.requested_by
    assert recorded(factory, by_form) == recorded(factory, by_command)
    assert tree(factory, by_form) == tree(factory, by_command)


def test_a_missing_browser_is_a_failure_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssertionError, match="make system-packages"):
        chromium()


def test_the_readme_shows_pictures_that_are_there_and_small() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    shown = re.findall(r'src="(docs/pictures/\w+\.png)"', readme.read_text())
    assert len(shown) == 2
    for picture in shown:
        assert 10_000 < (readme.parent / picture).stat().st_size < 300_000


def run_by_form(window: Window) -> str:
    """Fill the form in, submit it, and look at the flow run; its id."""
    page = window.page
    page.get_by_label("Service name").fill("orders")
    for position, entity in enumerate(ENTITIES):
        page.get_by_role("button", name="Add item").click()
        item = page.get_by_role("button", name="Drag to reorder").nth(position).locator("..")
        item.locator("textarea").fill(entity)
    page.get_by_label("Select Database").click()
    page.get_by_role("option", name="none").click()
    page.get_by_label("Port").fill("8080")
    window.picture("form")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()
    page.wait_for_url("**/runs/flow-run/*")
    return page.url.partition("/flow-run/")[2].partition("?")[0]


def see_it_complete(window: Window) -> None:
    """Without loading its page anew."""
    expect(window.page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=120_000)


def see_what_it_made(window: Window, home: Path) -> None:
    """From the flow run's page to the table that we made for it."""
    page = window.page
    page.get_by_role("tab", name="Artifacts").click()
    table = page.get_by_role("link", name=re.compile("microservice-artifacts"))
    table.wait_for()
    window.picture("run", anew=True, home=home)
    table.click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    expect(page.get_by_role("cell", name="apply-domain[order-line]").first).to_be_visible()


def flow_runs(prefect: Prefect, deployment_id: str) -> list[Any]:
    wanted = {"deployments": {"id": {"any_": [deployment_id]}}}
    return prefect.ask("POST", "/flow_runs/filter", wanted)


def artifact_keys(prefect: Prefect, flow_run_id: str) -> set[str]:
    wanted = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    return {one["key"] for one in prefect.ask("POST", "/artifacts/filter", wanted)}


def found_by_flow_run(factory: Factory, flow_run_id: str) -> Run:
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        run = tx.find_run_by_flow_run(flow_run_id)
    assert run is not None
    return run


def found(factory: Factory, run_id: str) -> Run:
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        return tx.get_run(run_id)


def recorded(factory: Factory, run: Run) -> dict[str, Any]:
    """All that our store has of a run, but for what two runs never have in common."""
    with factory.runtime.store.begin(TENANT, read_only=True) as tx:
        rows = {
            "run": [run],
            "job": tx.list_jobs(run.id),
            "attempt": tx.list_attempts(run.id),
            "artifact": tx.list_artifacts(run_id=run.id),
            "effect": tx.list_effects(run_id=run.id),
        }
    own = re.compile(rf"{run.id}|{run.project_id}|\b[0-9a-f]{{40}}\b|\b[0-9a-f]{{12}}\b")
    texts = {kind: [_text(one) for one in found] for kind, found in rows.items()}
    return {kind: sorted(own.sub("…", text) for text in found) for kind, found in texts.items()}


def _text(row: Any) -> str:
    return json.dumps(_shared(asdict(row)), default=str, sort_keys=True, indent=1)


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        facts = cast("dict[str, Any]", value).items()
        differs = ITS_OWN | HOW_IT_WENT
        return {k: _shared(v) for k, v in facts if k not in differs and not k.endswith("_at")}
    return value


def tree(factory: Factory, run: Run) -> str:
    """The digest of all the files that a run left in its repository."""
    place = factory.settings.root / "git" / TENANT / run.project_id / "orders.git"
    return git("rev-parse", "HEAD^{tree}", cwd=place)

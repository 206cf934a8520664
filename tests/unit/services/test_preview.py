"""What a run would do, told without doing any of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import InputError, InvalidInputsError, UnknownTemplateError
from factory_runtime.domain.result import RenderOrder
from factory_runtime.jobs.render.box import render_key
from factory_runtime.orchestration.render_cache import cached_tree
from factory_runtime.ports import RunFilter
from factory_runtime.services.preview import Preview, RenderForecast, preview_run
from tests.builders import NOON, TENANT, a_run_request
from tests.small_factory import Act, Paint, SmallFactory, steps

TEXT = """
inputs:
  type: object
  properties: {name: {type: string, default: x}, all: {type: boolean, default: false}}
steps:
  - {name: base, type: paint, with: {source: files, data: {name: "${{ inputs.name }}"}}}
  - {name: plain, type: act, needs: [base]}
  - name: later
    type: paint
    needs: [base]
    with: {source: files, data: {url: "${{ steps.base.outputs.url }}"}}
  - {name: whole, type: paint, needs: [base], with: {source: files}, cache: false}
  - {name: unwanted, type: paint, needs: [base], when: "${{ inputs.all }}", with: {source: files}}
"""


def preview(
    factory: SmallFactory, has_render: Callable[[str], bool] = lambda _key: False, **request: Any
) -> Preview:
    asked = a_run_request(**({"template": "demo", "inputs": {}} | request))
    return preview_run(factory.catalog, factory.job_types, asked, has_render)


def test_each_render_is_foretold(factory: SmallFactory):
    factory.template(TEXT)
    assert preview(factory).renders == {
        "base": RenderForecast.NEW,
        "plain": RenderForecast.NONE,
        "later": RenderForecast.UNKNOWN,  # it reads what base will say
        "whole": RenderForecast.NEW,
        "unwanted": RenderForecast.NONE,
    }


def test_a_render_that_the_cache_holds_is_foretold_unless_the_step_wants_none_of_it(
    factory: SmallFactory,
):
    factory.template(TEXT)
    renders = preview(factory, lambda _key: True).renders
    assert renders["base"] is RenderForecast.CACHED
    assert renders["whole"] is RenderForecast.NEW
    assert renders["later"] is RenderForecast.UNKNOWN


def test_the_cache_is_asked_for_the_very_key_that_the_run_will_use(factory: SmallFactory):
    factory.template(TEXT)
    asked: set[str] = set()

    def has_render(key: str) -> bool:
        asked.add(key)
        return False

    preview(factory, has_render)
    walk = factory.take_up(factory.request())
    order = factory.begin(walk, "base").order
    assert order is not None
    planned = walk.plan.job("base")
    key = render_key(TENANT, planned.type, planned.type_version, order, walk.plan.sources)
    assert key in asked
    theirs: set[str] = set()
    preview(factory, lambda key: bool(theirs.add(key)), tenant_id="other")
    assert not asked & theirs


def test_what_is_known_of_a_jobs_with_is_shown(factory: SmallFactory):
    factory.template(TEXT)
    known = preview(factory, inputs={"name": "orders"}).with_
    assert known["base"] == {"source": "files", "data": {"name": "orders"}}
    assert known["later"] == {"source": "files"}


@pytest.mark.parametrize("error", [AttributeError("no items"), RuntimeError("surprise")])
def test_a_job_type_that_cannot_bear_a_stand_in_is_foretold_as_unknown(
    factory: SmallFactory, error: Exception
):
    class Picky(Paint):
        def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
            if isinstance(with_.get("data"), str):
                raise error
            return super().render(with_)

    factory.template(TEXT)
    factory.job_types["paint"] = Picky({})
    renders = preview(factory).renders
    assert (renders["base"], renders["later"]) == (RenderForecast.NEW, RenderForecast.UNKNOWN)


def test_a_preview_leaves_nothing_behind(factory: SmallFactory):
    factory.template(TEXT)
    preview(factory)
    with factory.store.begin(TENANT, read_only=True) as tx:
        assert tx.list_runs(RunFilter()).items == ()
        assert tx.list_templates() == ()
    assert factory.storage.bodies == {}


@pytest.mark.parametrize(
    ("request_", "error"),
    [({"inputs": {"name": 1}}, InvalidInputsError), ({"template": "none"}, UnknownTemplateError),
     ({"tenant_id": "A/b"}, InputError), ({"version": "9.9.9"}, UnknownTemplateError)],
)  # fmt: skip
def test_what_a_request_would_be_refused_for_is_said(
    factory: SmallFactory, request_: dict[str, Any], error: type[InputError]
):
    factory.template(TEXT)
    with pytest.raises(error) as caught:
        preview(factory, **request_)
    assert caught.value.run_id is None


def test_a_plan_without_renders_asks_the_cache_nothing(factory: SmallFactory):
    factory.template(steps("a:", "b: needs: [a]"))
    factory.job_types["act"] = Act({})

    def asked(_key: str) -> bool:
        raise AssertionError("it was asked")

    assert set(preview(factory, asked).renders.values()) == {RenderForecast.NONE}


# --- the records that Prefect keeps of renders

KEY = "ab" * 32


def record(result: Any, expiration: Any = None) -> Any:
    return {"metadata": {"expiration": expiration}, "result": result}


def keep(folder: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / KEY).write_text(text)


@pytest.mark.parametrize("result", ['{"digest": "d1", "size": 1}', {"digest": "d1"}])
@pytest.mark.parametrize(
    "expiration", [None, (NOON + timedelta(seconds=1)).isoformat(), "2026-11-21T12:00:01Z"]
)
def test_the_cache_names_the_tree_of_a_render(tmp_path: Path, result: Any, expiration: Any):
    keep(tmp_path, record(result, expiration))
    assert cached_tree(tmp_path, KEY, NOON) == "d1"


@pytest.mark.parametrize(
    "content",
    [
        record({"digest": "d1"}, NOON.isoformat()),
        record({"digest": "d1"}, "2026-11-21T13:00:00"),
        record({"digest": "d1"}, "soon"),
        record({"digest": "d1"}, 5),
        record("not json"),
        record([1]),
        record(None),
        record(7),
        {"metadata": None, "result": "{}"},
        {"metadata": [], "result": "{}"},
        {"result": {"digest": "d1"}},
        [],
        "",
        "{",
    ],
)
def test_a_record_that_is_expired_or_makes_no_sense_is_no_render(tmp_path: Path, content: Any):
    keep(tmp_path, content)
    assert cached_tree(tmp_path, KEY, NOON) is None


def test_where_there_is_no_record_or_no_folder_there_is_no_render(tmp_path: Path):
    assert cached_tree(tmp_path, KEY, NOON) is None
    assert cached_tree(tmp_path / "none", KEY, NOON) is None
    (tmp_path / KEY).mkdir()
    assert cached_tree(tmp_path, KEY, NOON) is None


GATED = """
inputs:
  type: object
  properties: {who: {type: string, default: ada}}
steps:
  - {name: a, type: act}
  - name: b
    type: act
    needs: [a]
    approval: {message: "${{ steps.a.outputs.url }}?", by: BY}
  - {name: c, type: act, approval: {by: ["${{ steps.a.outputs.owner }}"]}, needs: [a]}
"""


@pytest.mark.parametrize(
    ("by", "warned"),
    [
        ("[ada]", "approve-b would fail: only ada may approve this, and ada requested it"),
        ('["${{ inputs.who }}"]', "approve-b would fail: only ada may"),
        ("[ada], escalate: {after: 1d, to: [ada]}", "approve-b would fail: only ada may"),
        ("[ada], escalate: {after: 1d, to: [boss]}", "approve-b would escalate at once: only ada"),
        ("[ada, grace]", None),
        ('[ada, "group:ops"]', None),
    ],
)
def test_it_warns_of_approvals_that_nobody_could_give(
    factory: SmallFactory, by: str, warned: str | None
):
    factory.template(GATED.replace("BY", by))
    warnings = preview(factory).warnings
    assert len(warnings) == (0 if warned is None else 1)
    assert "".join(warnings).startswith(warned or "")

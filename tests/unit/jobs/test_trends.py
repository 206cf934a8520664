"""trend-analysis: what is worked out, within which memory, and how it goes on after a stop."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest

from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.errors import PermanentError, SuspendedError
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.report.measure import measure, number_of
from factory_runtime.jobs.report.rows import read_rows, shape_of
from factory_runtime.jobs.report.trends import TrendAnalysis
from tests.reports import Lent, lent, published


@pytest.fixture
def context() -> Generator[Any]:
    with lent("analyse") as one:
        yield one


def a_source(context: Lent, body: bytes, **more: Any) -> dict[str, Any]:
    """What data-fetch gives of these rows."""
    stored = context.storage.put("acme", body)
    format_ = "json" if body.startswith((b"[", b"{")) else "csv"
    shape = shape_of(io.BytesIO(body), format_)
    facts = {"digest": stored.digest, "format": format_, "rows": shape.rows}
    return {**facts, "columns": len(shape.columns), **more}


def analyse(context: Any, sources: dict[str, Any], *asked: str, **more: Any) -> Any:
    names = [{"name": name} for name in asked or sources]
    with_ = {"asked": names, "sources": sources, **more}
    assert check_with(TrendAnalysis.facts, with_) == ()
    result = published(TrendAnalysis(), context, with_)
    found = json.loads(context.storage.read("acme", result.outputs["trends"]))
    return result, found


def trends_of(text: str, every: int = 1) -> dict[str, Any]:
    with np.errstate(all="ignore"):
        found = measure(read_rows(io.BytesIO(text.encode()), "csv"), every)
    json.dumps(found, allow_nan=False)  # what cannot be stored is not there
    return {one["column"]: one for one in found["trends"]} | {"others": found["others"]}


def numbers() -> Iterator[float]:
    source = np.random.default_rng(3)
    while True:
        yield float(source.normal(100, 10))


# what is worked out


def test_the_trend_is_that_of_least_squares() -> None:
    ys = [y + 0.5 * x for x, y in zip(range(500), numbers(), strict=False)]
    trend = trends_of("y\n" + "\n".join(map(str, ys)))["y"]
    (slope, intercept), covariance = np.polyfit(range(500), ys, 1, cov=True)
    assert trend["n"] == 500
    assert trend["slope"] == pytest.approx(slope)
    assert trend["slope_error"] == pytest.approx(math.sqrt(covariance[0][0]))
    assert trend["intercept"] == pytest.approx(intercept)
    assert trend["mean"] == pytest.approx(np.mean(ys))
    assert (trend["last"], trend["change"]) == (ys[-1], pytest.approx(ys[-1] - ys[0]))


@pytest.mark.parametrize(
    ("values", "slope", "error"), [("7", None, None), ("7\n9", 2.0, None), ("7\n9\n11", 2.0, 0.0)]
)
def test_few_rows_say_no_more_than_they_can(
    values: str, slope: float | None, error: float | None
) -> None:
    trend = trends_of(f"y\n{values}")["y"]
    assert trend["slope"] == slope
    assert trend["slope_error"] == (error if error is None else pytest.approx(error, abs=1e-12))
    assert trend["last"] is not None


def test_what_is_no_usable_number_is_left_out_and_counted() -> None:
    values = [*("1" for _ in range(40)), "nan", "inf", "-inf", "1e400", "1e200", "n/a"]
    trend = trends_of("y,z\n" + "".join(f"{value},\n" for value in values))["y"]
    # NaN is a gap like an empty field, and not a value that could not be used.
    assert (trend["n"], trend["left_out"]) == (40, 5)
    assert trend["mean"] == 1


def test_a_gap_keeps_the_steps_around_it() -> None:
    rows = ["0", "", "", "3", "", "5"]
    assert trends_of("y,z\n" + "".join(f"{y},x\n" for y in rows))["y"]["slope"] == pytest.approx(1)


def test_columns_of_text_are_named_and_have_no_trend() -> None:
    found = trends_of("day,name,y\n2026-01-01,a,1\n2026-01-02,b,2\n")
    assert found["others"] == ["day", "name"]
    assert set(found) == {"y", "others"}


@pytest.mark.parametrize("text", ["1_000", "0x10", "true", "=1+2", "1,5", "1\x002", ""])
def test_what_only_looks_like_a_number_is_none(text: str) -> None:
    assert number_of(text) is None


@pytest.mark.parametrize("value", [True, None, [], {"a": 1}])
def test_other_values_are_no_numbers(value: Any) -> None:
    assert number_of(value) is None


def test_points_are_few_and_hold_both_ends() -> None:
    points = trends_of("y\n" + "\n".join(map(str, range(10_000))))["y"]["points"]
    assert len(points) == 200
    assert (points[0], points[-1]) == ([0, 0], [9_999, 9_999])


def test_a_sample_keeps_slopes_per_row_and_is_the_same_each_time() -> None:
    text = "y\n" + "\n".join(str(3 * n) for n in range(1_000))
    trend = trends_of(text, 7)["y"]
    assert trend["n"] == 143
    assert trend["slope"] == pytest.approx(3)
    assert trends_of(text, 7) == trends_of(text, 7)


# the job


def test_each_source_is_worked_out_and_those_that_are_not_there_are_named(context: Any) -> None:
    sources = {
        "a": a_source(context, b"y\n1\n2\n3\n"),
        "b": a_source(context, b'[{"y": 1, "t": "x"}, {"y": 4, "t": "y"}]'),
        "words": a_source(context, b"t\nx\ny\n"),
        "empty": a_source(context, b"y\n"),
    }
    result, found = analyse(context, sources, "a", "lost", "b", "words", "empty")
    outputs = result.outputs
    assert outputs["missing"] == ["lost"]
    assert outputs["drawable"] == ["a", "b"]
    assert result.degraded == "without lost"
    assert [found[name]["trends"][0]["slope"] for name in ("a", "b")] == [pytest.approx(1), 3]
    assert found["words"]["others"] == ["t"]
    assert (found["empty"]["rows"], found["empty"]["trends"]) == (0, [])


def test_a_whole_analysis_is_not_degraded(context: Any) -> None:
    result, _ = analyse(context, {"a": a_source(context, b"y\n1\n2\n3\n")})
    assert result.degraded is None


def test_without_any_source_it_fails_and_says_so(context: Any) -> None:
    with pytest.raises(PermanentError, match="none of the sources is there: a, b"):
        analyse(context, {}, "a", "b")


def test_a_body_that_is_gone_or_no_rows_is_a_missing_source(context: Any) -> None:
    good = a_source(context, b"y\n1\n2\n")
    gone = {**good, "digest": "0" * 64}
    wrong = {**good, "format": "json"}
    result, found = analyse(context, {"good": good, "gone": gone, "wrong": wrong})
    assert result.outputs["missing"] == ["gone", "wrong"]
    assert "no object" in found["wrong"]["failed"]
    with pytest.raises(PermanentError, match="none of the sources"):
        analyse(context, {"gone": gone})


WIDE = b'[{"a": [' + b",".join([b"[]"] * 200_000) + b"]}]"
"""One row, which takes many times the memory that its text does."""


def test_a_source_of_which_not_one_row_fits_leaves_the_others_whole(context: Any) -> None:
    good, wide = a_source(context, b"y\n1\n3\n"), a_source(context, WIDE)
    result, found = analyse(context, {"wide": wide, "good": good}, memory_limit_mib=1)
    assert result.outputs["missing"] == ["wide"]
    assert result.degraded == "without wide"
    assert "not one row" in found["wide"]["failed"]
    assert found["good"]["trends"][0]["slope"] == pytest.approx(2)
    with pytest.raises(PermanentError, match="wide does not fit into 1 MiB, not one row"):
        analyse(context, {"wide": wide}, memory_limit_mib=1)


def test_a_process_that_ends_badly_leaves_the_other_sources_whole(context: Any) -> None:
    good, bad = a_source(context, b"y\n1\n3\n"), a_source(context, b"y\n1\n9\n")
    start = context.start_child

    def falls_over(arguments: Any, **more: Any) -> Any:
        fails = [sys.executable, "-c", "import sys; sys.exit('the library fell over')"]
        return start(fails if context.started == 0 else arguments, **more)

    context.start_child = falls_over
    result, found = analyse(context, {"bad": bad, "good": good})
    assert result.outputs["missing"] == ["bad"]
    assert "ended with 1: the library fell over" in found["bad"]["failed"]
    assert found["good"]["trends"][0]["slope"] == pytest.approx(2)
    # Tried again, it is the one that failed that is worked out.
    result, _ = analyse(context, {"bad": bad, "good": good})
    assert (result.outputs["missing"], context.started) == ([], 3)


def test_the_result_is_as_secret_as_the_most_secret_source(context: Any) -> None:
    one = a_source(context, b"y\n1\n2\n", classification="confidential")
    two = a_source(context, b"y\n1\n2\n3\n", classification="public")
    result, _ = analyse(context, {"one": one, "two": two})
    assert result.artifacts[0].classification is Classification.CONFIDENTIAL


# memory


def test_what_would_not_fit_is_sampled_and_that_is_said(context: Any) -> None:
    rows = "".join(f"{n},{2 * n}\n" for n in range(60_000))
    source = a_source(context, f"x,y\n{rows}".encode())
    result, found = analyse(context, {"sales": source}, memory_limit_mib=1)
    every = result.outputs["sampled"]["sales"]
    assert every >= 8
    assert result.degraded == f"sampled 1 of {every} rows of sales"
    assert found["sales"]["trends"][1]["slope"] == pytest.approx(2)
    assert found["sales"]["rows"] == 60_000


def test_a_process_that_dies_of_memory_is_followed_by_one_that_takes_fewer_rows(
    context: Any,
) -> None:
    """The shape is a lie, so that the estimate finds room for all of it.

    Of each column that only the last row has, a value is kept for every row before it.
    """
    last = 2**15
    rows = [{"x": n, "y": 2 * n} for n in range(last)]
    rows.append({"x": last, "y": 2 * last} | {f"late-{n}": n for n in range(60)})
    source = {**a_source(context, json.dumps(rows).encode()), "rows": 10}
    result, found = analyse(context, {"sales": source}, memory_limit_mib=2)
    assert context.started > 1
    assert result.outputs["sampled"]["sales"] == 2 ** (context.started - 1)
    assert any("did not fit" in line for line in context.lines)
    assert found["sales"]["trends"][1]["slope"] == pytest.approx(2)


@pytest.mark.parametrize("rows", [200_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_a_million_rows_fit_into_what_is_given_by_default(context: Any, rows: int) -> None:
    """Fewer of them, into as much less."""
    given = {} if rows == 1_000_000 else {"memory_limit_mib": 256 * rows // 1_000_000}
    source = {**a_source(context, b"x\n1\n"), "rows": rows}
    stored = context.storage.put("acme", b"x\n" + b"1.5\n" * rows)
    _, found = analyse(context, {"sales": {**source, "digest": stored.digest}}, **given)
    assert (found["sales"]["every"], found["sales"]["trends"][0]["n"]) == (1, rows)


# going on


def test_an_analysis_that_was_stopped_goes_on_behind_what_it_had(context: Any) -> None:
    sources = {name: a_source(context, f"y\n1\n{n}\n".encode()) for n, name in enumerate("abc")}
    whole, _ = analyse(context, sources)
    context.saved, context.started, context.stop_after = None, 0, 2
    with pytest.raises(SuspendedError):
        analyse(context, sources)
    assert context.started == 2
    context.stop_after = 1000
    again, _ = analyse(context, sources)
    assert context.started == 3
    assert again.outputs == whole.outputs


def test_a_checkpoint_of_other_data_is_of_no_use(context: Any) -> None:
    analyse(context, {"a": a_source(context, b"y\n1\n2\n")})
    _, found = analyse(context, {"a": a_source(context, b"y\n1\n5\n")})
    assert context.started == 2
    assert found["a"]["trends"][0]["slope"] == pytest.approx(4)


def test_the_process_is_told_nothing_that_it_has_no_use_for(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_SECRET", "hunter2")
    seen: list[Any] = []
    start = context.start_child

    def watch(arguments: Any, **more: Any) -> Any:
        seen.append(more["env"])
        return start(arguments, **more)

    context.start_child = watch
    analyse(context, {"a": a_source(context, b"y\n1\n2\n")})
    assert seen
    assert all("hunter2" not in repr(environment) for environment in seen)

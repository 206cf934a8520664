"""Charts and documents: what they show, what they name as missing, and that nothing gets out."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Generator
from html.parser import HTMLParser
from typing import Any

import pytest
from pypdf import PdfReader

from factory_runtime.domain.artifact import ArtifactKind, Classification
from factory_runtime.domain.errors import FactoryError, InputError, MissingExtraError
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.report.chart import Chart
from factory_runtime.jobs.report.document import Document
from tests.reports import lent, published

HOSTILE = "<script>alert(1)</script>&\"'$x^2$ =1+2 שלום 数"


@pytest.fixture
def context() -> Generator[Any]:
    with lent("document") as one:
        yield one


def a_trend(column: str = "orders", **values: Any) -> dict[str, Any]:
    points = [[n, 2.0 * n] for n in range(20)]
    numbers = {"mean": 19.0, "slope": 2.0, "slope_error": 0.1, "last": 38.0, "change": 38.0}
    return {
        "column": column,
        "n": 20,
        "left_out": 0,
        "intercept": 0.0,
        "points": points,
        **numbers,
        **values,
    }


def found(*trends: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"trends": list(trends), "others": [], "rows": 20, "every": 1, **values}


def fetched(**values: Any) -> dict[str, Any]:
    return {
        "digest": "a" * 64,
        "format": "csv",
        "rows": 20,
        "columns": 1,
        "location": "https://host/sales.csv",
        "fetched_at": "2026-11-20T08:30:00+00:00",
        "stale": False,
        "classification": "internal",
        **values,
    }


def stored(context: Any, measured: dict[str, Any]) -> str:
    return context.storage.put("acme", json.dumps(measured).encode()).digest


def drawn(context: Any, name: str, measured: dict[str, Any]) -> Any:
    with_ = {"trends": stored(context, measured), "source": name}
    assert check_with(Chart.facts, with_) == ()
    return published(Chart(), context, with_)


def written(
    context: Any,
    format_: str,
    measured: dict[str, Any],
    sources: dict[str, Any] | None = None,
    **more: Any,
) -> Any:
    there = {name: fetched() for name in measured} if sources is None else sources
    with_ = {
        "format": format_,
        "title": "Monthly",
        "asked": [{"name": name} for name in dict.fromkeys([*there, *measured])],
        "sources": there,
        "trends": stored(context, measured),
        **more,
    }
    assert check_with(Document.facts, with_) == ()
    return published(Document(), context, with_)


def text_of(context: Any, result: Any) -> str:
    """What a reader sees, on one line."""
    body = context.storage.read("acme", result.outputs["digest"])
    if result.outputs["format"] == "html":
        words = _Words()
        words.feed(body.decode())
        return " ".join(" ".join(words.seen).split())
    pages = PdfReader(io.BytesIO(body)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        if not self.tags or self.tags[-1][0] != "style":
            self.seen.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


# charts


def test_a_chart_is_a_png_of_the_columns_of_one_source(context: Any) -> None:
    result = drawn(context, "sales", {"sales": found(a_trend("a"), a_trend("b"))})
    png = context.storage.read("acme", result.outputs["digest"])
    assert png.startswith(b"\x89PNG")
    size = (int.from_bytes(png[16:20]), int.from_bytes(png[20:24]))
    assert size == (result.outputs["width"], result.outputs["height"])
    assert result.outputs["series"] == ["a", "b"]
    (draft,) = result.artifacts
    assert (draft.kind, draft.name, draft.media_type) == (
        ArtifactKind.FILE,
        "sales.png",
        "image/png",
    )


def test_the_same_chart_is_the_same_bytes(context: Any) -> None:
    measured = {"sales": found(a_trend())}
    one, two = (drawn(context, "sales", measured).outputs["digest"] for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    "column", [HOSTILE, "$\\frac{", "\\", "a\nb", "\u202eevil", "", "𝒳" * 30, "_" * 60]
)
def test_a_hostile_name_is_only_text_in_a_chart(context: Any, column: str) -> None:
    drawn(context, "sales", {"sales": found(a_trend(column))})


@pytest.mark.parametrize(
    "points",
    [[[0, 1.0]], [[0, 5.0], [1, 5.0]], [[0, 1e149], [1, -1e149]], [[0, 1e-300], [1, 2e-300]]],
    ids=["one", "flat", "huge", "tiny"],
)
def test_extreme_series_can_be_drawn(context: Any, points: list[list[float]]) -> None:
    flat = a_trend(points=points, slope=None, intercept=None)
    drawn(context, "sales", {"sales": found(flat)})


@pytest.mark.parametrize("measured", [{}, {"sales": found()}, {"sales": found(a_trend(points=[]))}])
def test_nothing_to_draw_is_an_error_that_says_so(context: Any, measured: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no column of numbers"):
        drawn(context, "sales", measured)


def test_without_its_extra_a_job_says_which_one_to_install(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for missing in ("matplotlib.figure", "reportlab.platypus"):
        monkeypatch.setitem(sys.modules, missing, None)
    measured = {"sales": found(a_trend())}
    with pytest.raises(MissingExtraError, match="chart needs matplotlib") as no:
        drawn(context, "sales", measured)
    assert no.value.hint == "install the extra report: pip install 'factory-runtime[report]'"
    with pytest.raises(MissingExtraError, match="document needs reportlab"):
        written(context, "pdf", measured)
    written(context, "html", measured)


# documents


@pytest.mark.parametrize("format_", ["pdf", "html"])
def test_a_report_shows_freshness_trends_and_charts(context: Any, format_: str) -> None:
    measured = {"sales": found(a_trend("orders"), others=["day"])}
    charts = {"sales": drawn(context, "sales", measured).outputs}
    result = written(context, format_, measured, charts=charts)
    text = text_of(context, result)
    for said in (
        "Monthly",
        "sales",
        "as of 2026-11-20 08:30 UTC",
        "20 rows from https://host/sales.csv",
        "no numbers: day",
        "orders",
        "38",
        "Nothing: every source was fetched, read in full and drawn.",
    ):
        assert said in text
    assert result.degraded is None
    (draft,) = result.artifacts
    assert (draft.kind, draft.name) == (ArtifactKind.DOCUMENT, f"report.{format_}")


@pytest.mark.parametrize("format_", ["pdf", "html"])
def test_a_report_names_all_that_is_missing_or_approximate(context: Any, format_: str) -> None:
    measured = {
        "old": found(a_trend()),
        "large": found(a_trend(), every=8),
        "bare": found(a_trend("orders", left_out=3)),
        "broken": {"failed": "cut off", "every": 1, "rows": 3},
    }
    sources = {name: fetched() for name in measured} | {"old": fetched(stale=True)}
    charts = {name: drawn(context, name, measured).outputs for name in ("old", "large")}
    asked = [{"name": name} for name in [*measured, "lost"]]
    result = written(context, format_, measured, sources, asked=asked, charts=charts)
    wanted = [
        "old: from a copy of 2026-11-20 08:30 UTC; the source did not answer",
        "large: sampled 1 of 8 rows, to fit into memory",
        "bare: without its chart; it could not be drawn",
        "bare, orders: 3 values are no usable number",
        "broken: left out; its data could not be worked out",
        "lost: left out; it could not be fetched, and there was no copy",
    ]
    assert sorted(result.outputs["notes"]) == sorted(wanted)
    text = text_of(context, result)
    for note in wanted:
        assert note in text
    assert result.degraded == "; ".join(result.outputs["notes"])
    assert "stale" in text


@pytest.mark.parametrize("format_", ["pdf", "html"])
def test_the_same_report_is_the_same_bytes(context: Any, format_: str) -> None:
    measured = {"sales": found(a_trend(HOSTILE))}
    charts = {"sales": drawn(context, "sales", measured).outputs}
    one, two = (
        written(context, format_, measured, charts=charts).outputs["digest"] for _ in range(2)
    )
    assert one == two


def test_a_page_holds_no_markup_but_its_own_and_asks_nobody(context: Any) -> None:
    measured = {HOSTILE: found(a_trend(HOSTILE), others=[HOSTILE])}
    sources = {HOSTILE: fetched(location="javascript:alert(1)", stale=True)}
    png = context.storage.put("acme", b"not a picture").digest
    charts = {HOSTILE: {"digest": png, "width": 10, "height": 10}}
    result = written(context, "html", measured, sources, charts=charts, title=HOSTILE)
    page = _Words()
    page.feed(context.storage.read("acme", result.outputs["digest"]).decode())
    assert not {"script", "iframe", "link", "a", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:"), tag  # pyright: ignore[reportOptionalMemberAccess] - each has a value
    assert "<script>alert(1)</script>" in " ".join(page.seen)


def test_a_pdf_shows_hostile_text_as_text_and_tells_of_characters_it_lacks(context: Any) -> None:
    measured = {"sales": found(a_trend('<font color="red">&amp; 数'))}
    text = text_of(context, written(context, "pdf", measured, title="<b>Größe</b> Ω Ж"))
    assert "<b>Größe</b> Ω Ж" in text
    assert '<font color="red">&amp; □' in text
    assert "□ stands for a character that the font of this document lacks" in text


@pytest.mark.parametrize("format_", ["pdf", "html"])
def test_a_report_of_very_many_columns_is_written(context: Any, format_: str) -> None:
    trends = [a_trend(f"{'wide' * 14}{n}", points=[]) for n in range(200)]
    written(context, format_, {"sales": found(*trends)})


def test_a_picture_that_cannot_be_read_fails_the_pdf_and_not_the_page(context: Any) -> None:
    """What is written in place of a PDF must not need what the PDF failed of."""
    measured = {"sales": found(a_trend())}
    png = context.storage.put("acme", b"not a picture").digest
    charts = {"sales": {"digest": png, "width": 10, "height": 10}}
    with pytest.raises(Exception, match="identify image"):
        written(context, "pdf", measured, charts=charts)
    written(context, "html", measured, charts=charts)


def test_a_chart_whose_bytes_are_gone_is_left_out_and_named(context: Any) -> None:
    measured = {"sales": found(a_trend())}
    charts = {"sales": {"digest": "0" * 64, "width": 10, "height": 10}}
    result = written(context, "pdf", measured, charts=charts)
    assert result.outputs["notes"] == ["sales: without its chart; it could not be drawn"]


def test_what_takes_the_place_of_another_document_says_so(context: Any) -> None:
    result = written(context, "html", {"sales": found()}, instead_of="report.pdf")
    note = "report.pdf could not be written; this is in its place"
    assert result.degraded == note
    assert note in text_of(context, result)


def test_a_report_is_as_secret_as_its_most_secret_source(context: Any) -> None:
    sources = {"a": fetched(classification="confidential"), "b": fetched(classification="public")}
    result = written(context, "html", {"a": found(), "b": found()}, sources)
    assert result.artifacts[0].classification is Classification.CONFIDENTIAL


def test_many_notes_make_a_short_word_on_the_job(context: Any) -> None:
    measured = {f"s{n}": found(a_trend()) for n in range(30)}
    result = written(context, "html", measured)
    assert result.degraded.endswith("and 20 more")
    assert len(result.outputs["notes"]) == 30


def test_trends_that_are_gone_are_an_error(context: Any) -> None:
    with_: dict[str, Any] = {
        "format": "html",
        "title": "x",
        "asked": [{"name": "a"}],
        "sources": {},
    }
    with pytest.raises(FactoryError):
        published(Document(), context, {**with_, "trends": "0" * 64})

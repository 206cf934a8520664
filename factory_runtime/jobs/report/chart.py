"""chart: the series of one source as a picture."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind, Classification
from factory_runtime.domain.errors import InputError, MissingExtraError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.jobs.report.fetch import CLASSIFICATION_SCHEMA, NAME_SCHEMA
from factory_runtime.jobs.report.fonts import printable
from factory_runtime.ports import FileTree, GitHost, JobContext

DIGEST_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "pattern": "^[0-9a-f]{64}$",
    "description": "of trends.json",
}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["trends", "source"],
    "additionalProperties": False,
    "properties": {
        "trends": DIGEST_SCHEMA,
        "source": NAME_SCHEMA,
        "classification": CLASSIFICATION_SCHEMA,
    },
}
_DOTS_PER_INCH = 110
_WIDTH, _HEIGHT = 7.0, 1.7
_DRAWING = threading.Lock()
"""The library may be used by one thread at a time."""


class Chart:
    """Draws the columns of one source one above the other, each with its trend.

    Outputs: source, digest, size, width, height (pixels), series (names of columns).
    """

    facts = JobTypeFacts(
        name="chart",
        version="1",
        with_schema=_SCHEMA,
        source_keys=(),
        retry=RetryPolicy(2, (timedelta(seconds=1),), 0.3),
        timeout=timedelta(minutes=5),
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        name = with_["source"]
        measured = read_trends(context, with_["trends"])
        drawn = [one for one in measured.get(name, {}).get("trends", ()) if one["points"]]
        if not drawn:
            raise InputError(f"{name} has no column of numbers to draw")
        picture, width, height = draw(drawn)
        stored = context.storage.put(context.facts.tenant_id, picture)
        draft = ArtifactDraft(
            ArtifactKind.FILE,
            f"{name}.png",
            stored.uri,
            "image/png",
            size=stored.size,
            sha256=stored.digest,
            classification=Classification(with_.get("classification", "internal")),
        )
        outputs = {
            "source": name,
            "digest": stored.digest,
            "size": stored.size,
            "width": width,
            "height": height,
            "series": [one["column"] for one in drawn],
        }
        return JobResult(outputs=outputs, artifacts=(draft,))

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect  # it has none
        return None


def read_trends(context: JobContext, digest: str) -> Mapping[str, Mapping[str, Any]]:
    """What trend-analysis found, by source.

    Raises:
        ArtifactNotFoundError: it is gone.
        CorruptArtifactError: it is damaged.
    """
    return cast(
        "Mapping[str, Mapping[str, Any]]",
        json.loads(context.storage.read(context.facts.tenant_id, digest)),
    )


def draw(trends: Sequence[Mapping[str, Any]]) -> tuple[bytes, int, int]:
    """A PNG of the points of each trend, and its width and height in pixels.

    The same trends give the same bytes.

    Raises:
        MissingExtraError: what draws is not installed.
    """
    with _DRAWING:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as exc:
            raise MissingExtraError("chart", "report", "matplotlib") from exc
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(trends)), dpi=_DOTS_PER_INCH)
        canvas: Any = FigureCanvasAgg(figure)
        for number, trend in enumerate(trends, 1):
            _draw_one(figure.add_subplot(len(trends), 1, number), trend)
        figure.tight_layout()
        out = io.BytesIO()
        canvas.print_png(out, metadata={"Software": None})  # no version in the bytes
        width, height = canvas.get_width_height()
        return out.getvalue(), width, height


def _draw_one(axes: Any, trend: Mapping[str, Any]) -> None:
    xs, ys = zip(*trend["points"], strict=True)
    axes.plot(xs, ys, linewidth=1.2, marker="." if len(xs) < 60 else None, color="#1f5fa8")
    if trend["slope"] is not None and trend["intercept"] is not None:
        ends = (xs[0], xs[-1])
        line = [trend["intercept"] + trend["slope"] * x for x in ends]
        axes.plot(ends, line, linewidth=1, linestyle="--", color="#b8442f")
    # Text of a source's own: nothing in it is a formula.
    axes.set_title(printable(trend["column"]), fontsize=9, loc="left", parse_math=False)
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, linewidth=0.3)

"""Job type and template of the fan-out in which the engine is killed: FACTORY_JOB_TYPES names it.

Each job writes in the watch file when it began and when it ended, as those of the peers do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.fan_out import LAST, ROOT, FanOut
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import FileTree, GitHost, JobContext

TEMPLATE = "killed"
_TEXT = f"""\
id: {TEMPLATE}
version: 1.0.0
title: Killed
description: Jobs that take a moment, and say when.
inputs:
  type: object
  required: [names, seconds, watch]
  properties:
    names: {{type: array, items: {{type: string}}}}
    seconds: {{type: number}}
    watch: {{type: string}}
steps:
  - name: first
    type: marked
    with: {{name: {ROOT}, seconds: "${{{{ inputs.seconds }}}}", watch: "${{{{ inputs.watch }}}}"}}
  - name: work
    type: marked
    needs: [first]
    each: "${{{{ inputs.names }}}}"
    with:
      name: "${{{{ item }}}}"
      seconds: "${{{{ inputs.seconds }}}}"
      watch: "${{{{ inputs.watch }}}}"
  - name: last
    type: marked
    needs: [work]
    with: {{name: {LAST}, seconds: "${{{{ inputs.seconds }}}}", watch: "${{{{ inputs.watch }}}}"}}
"""


class Marked:
    """Does nothing for some seconds, and marks its begin and its end."""

    facts = JobTypeFacts("marked", "1", {"type": "object"}, source_keys=())

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del context, tree
        name = FanOut(jobs=0, seconds=with_["seconds"], watch=with_["watch"]).run_job(with_["name"])
        return JobResult(outputs={"name": name})

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect
        return None


JOB_TYPES = [Marked()]


def write_template(folder: Path) -> None:
    """Write the template below a folder of templates."""
    place = folder / TEMPLATE
    place.mkdir(parents=True)
    (place / "template.yaml").write_text(_TEXT)


def inputs_of(fan_out: FanOut) -> dict[str, Any]:
    """The template's inputs that make this fan-out of it."""
    return {"names": list(fan_out.middle), "seconds": fan_out.seconds, "watch": fan_out.watch}

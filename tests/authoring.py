"""Writes template folders for tests, and the job types they use."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from factory_runtime.compiler.load import check_template, load_template
from factory_runtime.domain.errors import Problem
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy, Template

HEAD = "id: demo\nversion: 1.0.0\n"

JOB_TYPES: Mapping[str, JobTypeFacts] = {
    "note": JobTypeFacts(
        name="note",
        version="1",
        with_schema={
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "number": {"type": "integer"},
                "kind": {"enum": ["plain", "rich"]},
                "data": {"type": "object"},
            },
        },
        retry=RetryPolicy(max_attempts=3),
    ),
    "layer": JobTypeFacts(
        name="layer",
        version="7",
        with_schema={
            "type": "object",
            "required": ["source"],
            "properties": {"source": {"type": "string"}, "data": {"type": "object"}},
        },
        sources={"brought": Path("/nowhere/brought")},
        undos=("delete-layer",),
    ),
}


def write_template(folder: Path, text: str, *, head: str = HEAD) -> Path:
    """The folder, with ``template.yaml`` in it and a source called ``files``."""
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "template.yaml").write_text(head + textwrap.dedent(text).lstrip("\n"))
    return folder


def loaded(folder: Path, text: str, **options: str) -> Template:
    return load_template(write_template(folder, text, **options), JOB_TYPES)


def problems(folder: Path, text: str, **options: str) -> list[Problem]:
    return check_template(write_template(folder, text, **options), JOB_TYPES)


def codes(folder: Path, text: str, **options: str) -> list[str]:
    return [problem.code for problem in problems(folder, text, **options)]

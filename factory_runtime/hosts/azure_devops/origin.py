"""The mark that a repository is ours: the annotated tag ``factory/origin``.

A repository of Azure DevOps has no description and no tags of its own, so the mark lies in it: on
a commit of nothing, off every branch. It is made before the repository gets its name, in a form
that says all there is to know: whose it is, and which job made it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from factory_runtime.domain.ids import digest_of
from factory_runtime.hosts.git import git
from factory_runtime.hosts.orders import FACTORY_ADDRESS

ORIGIN = "factory/origin"
ORIGIN_REF = f"refs/tags/{ORIGIN}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a repository is, and the job that made it."""

    tenant_id: str
    project_id: str
    effect_key: str


class _Words(BaseModel):
    tenant: str
    project: str
    effect_key: str = Field(alias="effectKey")


def unnamed(tenant_id: str, project_id: str, name: str) -> str:
    """What a repository is called before it has its name, and when it is taken away from it.

    The same for everybody who makes it, so that two who begin at once make one.
    """
    return f"factory-{digest_of([tenant_id, project_id, name])[:24]}"


def read_origin(message: str) -> Origin | None:
    """What the mark says; None where it is none of ours."""
    try:
        words = _Words.model_validate_json(message)
    except ValidationError:
        return None
    return Origin(words.tenant, words.project, words.effect_key)


def write_origin(place: Path, origin: Origin, at: datetime) -> str:
    """Put the mark among a bare repository's objects; the tag's id."""
    by = f"Factory Runtime <{FACTORY_ADDRESS}> {int(at.timestamp())} +0000"
    tree = _written(place, "tree", "")
    about = "Begin\n\nThis commit carries the mark of the factory, and is on no branch.\n"
    commit = _written(place, "commit", f"tree {tree}\nauthor {by}\ncommitter {by}\n\n{about}")
    words = {
        "tenant": origin.tenant_id,
        "project": origin.project_id,
        "effectKey": origin.effect_key,
        "createdBy": "factory-runtime",
    }
    head = f"object {commit}\ntype commit\ntag {ORIGIN}\ntagger {by}\n"
    return _written(place, "tag", f"{head}\n{json.dumps(words)}\n")


def _written(place: Path, kind: str, text: str) -> str:
    arguments = ("hash-object", "-w", "-t", kind, "--stdin")
    return git(place, *arguments, given=text.encode()).decode().strip()

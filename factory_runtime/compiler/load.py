"""Template folder → Template, or all of its problems at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from factory_runtime.compiler.check import References, StepChecks
from factory_runtime.compiler.findings import Fields, Findings, TooManyError
from factory_runtime.compiler.schema_check import check_inputs_schema
from factory_runtime.compiler.sources import Sources
from factory_runtime.compiler.steps import (
    Defaults,
    StepDraft,
    StepReader,
    read_retry,
    read_texts,
    retry_fields,
)
from factory_runtime.compiler.triggers import TriggerReader
from factory_runtime.compiler.work import EndlessError
from factory_runtime.compiler.yaml_nodes import MAX_BYTES, Node, read_yaml
from factory_runtime.domain.errors import HostileTemplateError, InvalidTemplateError, Problem
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy, Step, Template
from factory_runtime.domain.tree import pack_folder

if TYPE_CHECKING:
    from typing_extensions import Buffer

TEMPLATE_FILE = "template.yaml"
TEMPLATE_KEYS = (
    "id",
    "version",
    "title",
    "description",
    "docs",
    "inputs",
    "defaults",
    "deadline",
    "steps",
    "outputs",
    "triggers",
)
# As on semver.org, without build metadata: two builds of one version would be two templates.
_PAGE = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][^\s<>@\x00-\x20]*)?")
_VERSION = re.compile(
    r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}"
    r"(?:-(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
)


def load_template(
    folder: Path, job_types: Mapping[str, JobTypeFacts], *, source_roots: Sequence[Path] = ()
) -> Template:
    """Read and check a template folder.

    Args:
        folder: holds ``template.yaml`` and the files its steps use.
        job_types: what may stand as a step's ``type``.
        source_roots: folders outside the template that a step's source may lie in.

    Raises:
        InvalidTemplateError: with all problems at once.
    """
    template, problems = _read(folder, job_types, source_roots)
    if problems or template is None:
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        hint = "`factory templates check` shows them"
        raise InvalidTemplateError(f"the template {folder} has {count}", problems, hint=hint)
    return template


def check_template(
    folder: Path, job_types: Mapping[str, JobTypeFacts], *, source_roots: Sequence[Path] = ()
) -> list[Problem]:
    """Every problem of a template folder by place; none means it loads."""
    return _read(folder, job_types, source_roots)[1]


def _read(
    folder: Path, job_types: Mapping[str, JobTypeFacts], source_roots: Sequence[Path]
) -> tuple[Template | None, list[Problem]]:
    file = str(folder / TEMPLATE_FILE)
    body = _body_of(folder / TEMPLATE_FILE)
    if isinstance(body, Problem):
        return None, [body]
    root, problems = read_yaml(body, file)
    findings = Findings(file, problems)
    template = None
    if root is not None:
        template = _reading(root, findings, folder, job_types, source_roots)
    elif not problems:
        findings.add((1, 1), "missing-key", "the file is empty", "begin with id and version")
    return template, findings.sorted()


def _reading(
    root: Node,
    findings: Findings,
    folder: Path,
    job_types: Mapping[str, JobTypeFacts],
    source_roots: Sequence[Path],
) -> Template | None:
    with suppress(TooManyError):
        try:
            fields = Fields.of(root, "a template", findings, TEMPLATE_KEYS)
            if fields is not None:
                return _TemplateReader(fields, findings, job_types).read(folder, source_roots)
        except EndlessError:
            findings.add(root, "too-large", "the template has more expressions than can be read")
    return None


def _body_of(path: Path) -> bytes | Problem:
    try:
        if not path.is_file():
            hint = f"a template is a folder with a {TEMPLATE_FILE}"
            return Problem(str(path), 0, 0, "missing-file", "there is no such file", hint)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        return Problem(str(path), 0, 0, "missing-file", f"cannot be read: {error.strerror}")


class _NullSink(RawIOBase):
    """Takes bytes and forgets them."""

    def write(self, data: Buffer, /) -> int:
        return memoryview(data).nbytes


def _digest_of(folder: Path, findings: Findings) -> str:
    try:
        return pack_folder(folder.resolve(), cast(BinaryIO, _NullSink())).digest
    except HostileTemplateError as error:
        findings.add((1, 1), "hostile-source", str(error), error.hint)
    except OSError as error:
        findings.add((1, 1), "missing-source", f"{error.filename}: {error.strerror}")
    return ""


@dataclass(slots=True)
class _TemplateReader:
    """Reads the keys of a template in turn; no problem in one stops the next."""

    fields: Fields
    findings: Findings
    job_types: Mapping[str, JobTypeFacts]

    def read(self, folder: Path, source_roots: Sequence[Path]) -> Template:
        """The template; it is only in order where no problem was noted."""
        schema = check_inputs_schema(self.fields.node_of("inputs"), self.findings)
        drafts = self._steps()
        references = References(drafts, schema, self.findings)
        steps = StepChecks(drafts, references, self.findings).run()
        sources = Sources(folder, source_roots, self.findings)
        for draft in drafts:
            sources.take(draft, self.job_types)
        return self._template(folder, schema, steps, sources.found, references)

    def _template(
        self,
        folder: Path,
        schema: Mapping[str, Any],
        steps: tuple[Step, ...],
        sources: Mapping[str, Path],
        references: References,
    ) -> Template:
        id_ = self.fields.text("id", required="a short name, like microservice")
        if id_ and not is_slug(id_):
            self.fields.bad("id", "a slug", "lower case, digits, hyphens, dots, at most 63")
        version = self.fields.text("version", required="like 1.0.0")
        if version and not _VERSION.fullmatch(version):
            self.fields.bad("version", "a semantic version", "like 1.0.0 or 2.1.0-rc.1")
        docs = self.fields.text("docs")
        if docs and not _PAGE.fullmatch(docs):
            self.fields.bad("docs", "a web address", "like https://docs.example.com/microservice")
        triggers = TriggerReader(schema, references, self.findings).read(
            self.fields.node_of("triggers")
        )
        return Template(
            id=id_,
            version=version,
            title=self.fields.text("title", id_),
            description=self.fields.text("description"),
            docs=docs,
            folder=folder,
            digest=_digest_of(folder, self.findings),
            inputs_schema=schema,
            steps=steps,
            sources=sources,
            outputs=self._outputs(references),
            deadline=self.fields.duration("deadline"),
            triggers=triggers.plain,
            schedule=triggers.schedule,
            webhook=triggers.webhook,
        )

    def _defaults(self) -> Defaults:
        node = self.fields.node_of("defaults")
        inner = None
        if node is not None:
            inner = Fields.of(node, "defaults", self.findings, ("retry", "timeout"))
        if inner is None:
            return Defaults()
        retry = retry_fields(inner.node_of("retry"), self.findings)
        read_retry(retry, RetryPolicy())
        return Defaults(retry, inner.duration("timeout"))

    def _steps(self) -> list[StepDraft]:
        defaults = self._defaults()
        node = self.fields.require("steps", "a list of steps with name and type")
        if node is None:
            return []
        if not node.items:
            self.fields.bad("steps", "a list of at least one step")
            return []
        reader = StepReader(self.job_types, defaults, self.findings)
        drafts = [reader.read(item) for item in node.items]
        return [draft for draft in drafts if draft is not None]

    def _outputs(self, references: References) -> Mapping[str, Any]:
        node = self.fields.node_of("outputs")
        if node is None:
            return {}
        if node.members is None:
            self.fields.bad("outputs", "a mapping")
            return {}
        references.check_outputs(read_texts(node, self.findings))
        return node.plain()

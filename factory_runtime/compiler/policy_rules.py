"""The lists of a policy: what needs an approval, and where notices go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from factory_runtime.compiler.findings import Fields, Findings, did_you_mean
from factory_runtime.compiler.syntax import parse_text, reading_steps
from factory_runtime.compiler.yaml_nodes import Node
from factory_runtime.domain.approval import GROUP, Question
from factory_runtime.domain.errors import ExpressionError
from factory_runtime.domain.notice import NoticeKind
from factory_runtime.domain.policy import ANY, BLOCK, ApprovalRule, NoticeRule, names_block
from factory_runtime.domain.redaction import redact_text

_APPROVAL_KEYS = (
    "name",
    "templates",
    "when",
    "by",
    "count",
    "expires",
    "escalate",
    "message",
)
_NOTICE_KEYS = ("name", "to", "kinds")
_NAME_HINT = "lower case, digits, hyphens and underscores, at most 48"
_BY_HINT = "names of users, or group:NAME"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,46}[a-z0-9])?")
_PERSON = re.compile(r"(?:group:)?[^\s:,/]{1,128}")
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]{0,127}")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,31}://\S{0,2000}")
_PASSWORD = re.compile(r"://[^\s/@]*:[^\s/@]+@")
_ELSEWHERE = "keep it in an environment variable of the factory's, and write to: $ITS_NAME"

Named = list[tuple[str, Node]]


def read_approvals(fields: Fields, findings: Findings) -> tuple[tuple[ApprovalRule, ...], Named]:
    """The rules under ``approval``, and the templates they name with their places."""
    named: Named = []
    rules: list[ApprovalRule] = []
    for inner, name in _entries(fields, findings, "approval", _APPROVAL_KEYS):
        templates = inner.texts("templates")
        given = inner.node_of("templates")
        if given is not None and given.items == []:
            inner.bad("templates", "a list of templates", "leave it out for all")
        named += templates
        rules.append(
            ApprovalRule(
                name=name,
                question=_question(inner, findings, name),
                templates=tuple(text for text, _ in templates) or (ANY,),
                when=_condition(inner, findings),
            )
        )
    return tuple(rules), named


def read_notices(fields: Fields, findings: Findings) -> tuple[NoticeRule, ...]:
    """The rules under ``notify``."""
    kinds = [kind.value for kind in NoticeKind]
    rules: list[NoticeRule] = []
    for inner, name in _entries(fields, findings, "notify", _NOTICE_KEYS):
        asked = inner.texts("kinds")
        for kind, node in asked:
            if kind not in kinds:
                message = f"there is no kind of notice {kind!r}"
                findings.add(node, "bad-value", message, did_you_mean(kind, kinds))
        rules.append(NoticeRule(name, _address(inner), tuple(kind for kind, _ in asked)))
    return tuple(rules)


def _entries(
    fields: Fields, findings: Findings, key: str, known: tuple[str, ...]
) -> Iterator[tuple[Fields, str]]:
    """Each entry of a list of rules with its name, which must be its own."""
    node = fields.node_of(key)
    if node is None:
        return
    if node.items is None:
        fields.bad(key, "a list of rules", f"each with {', '.join(known)}")
        return
    taken: set[str] = set()
    for item in node.items:
        inner = Fields.of(item, f"a rule of {key}", findings, known)
        if inner is None:
            continue
        name = inner.text("name", required="a short name; refusals and people call it by that")
        if name and not _NAME.fullmatch(name):
            inner.bad("name", "short and plain", _NAME_HINT)
        elif name and name in taken:
            inner.bad("name", "the only one of that name", f"{name} stands further up")
        taken.add(name)
        yield inner, name


def _question(fields: Fields, findings: Findings, name: str) -> Question:
    by = _people(fields, "by")
    count = _count(fields)
    expires = fields.duration("expires") or Question("").expires
    after, to = _escalation(fields, findings)
    deciders = {*by, *to}
    if by and count > len(deciders) and not any(one.startswith(GROUP) for one in deciders):
        hint = "name more, or a group"
        fields.bad("count", f"at most {len(deciders)}, as many as may decide", hint)
    if after is not None and after >= expires:
        hint = f"it expires after {expires}: escalate earlier"
        fields.bad("escalate", "earlier than its expiry", hint)
    return Question(
        message=fields.text("message", f"the policy's rule {name} asks for an approval"),
        by=by,
        count=count,
        expires=expires,
        escalate_after=after,
        escalate_to=to,
    )


def _escalation(fields: Fields, findings: Findings) -> tuple[timedelta | None, tuple[str, ...]]:
    node = fields.node_of("escalate")
    if node is None:
        return None, ()
    inner = Fields.of(node, "escalate", findings, ("after", "to"))
    if inner is None:
        return None, ()
    inner.require("after", "a duration, like 1d")
    inner.require("to", _BY_HINT)
    return inner.duration("after"), _people(inner, "to")


def _people(fields: Fields, key: str) -> tuple[str, ...]:
    def read(node: Node) -> str | None:
        text = node.scalar
        return text if isinstance(text, str) and _PERSON.fullmatch(text) else None

    node = fields.node_of(key)
    if node is not None and node.items == []:
        # Not the same as leaving it out: then anybody may but the requester.
        fields.bad(key, "a list of at least one", _BY_HINT)
    found = fields.list_of(key, read, _BY_HINT) or []
    return tuple(dict.fromkeys(person for person, _ in found))


def _count(fields: Fields) -> int:
    node = fields.node_of("count")
    value = 1 if node is None else node.scalar
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        fields.bad("count", "a whole number from 1 to 100")
        return 1
    return value


def _condition(fields: Fields, findings: Findings) -> str | None:
    node = fields.node_of("when")
    if node is None:
        return None
    must_be = "one expression over inputs"
    hint = "like ${{ inputs.environment == 'production' }}"
    if not isinstance(node.scalar, str):
        fields.bad("when", must_be, hint)
        return None
    try:
        findings.work.charge(reading_steps(node.scalar))
        text = parse_text(node.scalar)
    except ExpressionError as error:
        findings.add(node, "expression", str(error), error.hint)
        return None
    names = {name for expression in text.expressions for name in expression.names}
    if not text.whole or not names <= {"inputs"}:
        fields.bad("when", must_be, hint)
        return None
    return node.scalar


def _address(fields: Fields) -> str:
    address = fields.text("to", required="an address like jsons://host/path, block:NAME, or $NAME")
    if not address or _VARIABLE.fullmatch(address) or names_block(address):
        return address
    if address.startswith(BLOCK):
        fields.bad("to", "block: and the name of a notification target", "like block:on-call")
        return address
    if _PASSWORD.search(address) or redact_text(address) != address:
        fields.bad("to", "without a password or a token in it", _ELSEWHERE)
    elif not _ADDRESS.fullmatch(address):
        fields.bad("to", "an address, or $NAME of an environment variable", "like jsons://host/")
    return address

"""Expressions, read once and checked without values.

The language is Jinja2's: its sandboxed environment reads an expression, and what it may hold is
an allow-list of syntax nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from factory_runtime.compiler.conditions import TESTS
from factory_runtime.compiler.filters import FILTERS
from factory_runtime.domain.errors import ExpressionError

OPEN = "${{"
NAMES = ("inputs", "steps", "item", "run", "event")
MAX_EXPRESSION = 4096
MAX_NODE_DEPTH = 40

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, optimized=False)
_ENVIRONMENT.filters = dict(FILTERS)
_ENVIRONMENT.tests = dict(TESTS)
_ENVIRONMENT.globals = {}

_ALLOWED = (
    nodes.Const,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Mod,
    nodes.Pow,
    nodes.Neg,
    nodes.Pos,
    nodes.Concat,
    nodes.Filter,
    nodes.Test,
)
_TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[{}]|[^'"{}]+|.""", re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One ``${{ … }}``, read and checked.

    Attributes:
        names: which of the five names it uses.
        inputs: the inputs it reads by name.
        steps: the steps it reads, as ``steps.…`` spells them.
    """

    text: str
    node: nodes.Expr
    names: frozenset[str]
    inputs: frozenset[str]
    steps: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Text with expressions in it, in order. ``whole`` says that it is one expression alone."""

    parts: tuple[str | Expression, ...]
    whole: bool

    @property
    def expressions(self) -> Iterator[Expression]:
        return (part for part in self.parts if isinstance(part, Expression))


def has_expression(text: str) -> bool:
    """Whether the text is more than itself: it holds an expression or an escaped ``$${{``."""
    return OPEN in text


def reading_steps(text: str) -> int:
    """What ``parse_text`` costs, in the steps of ``compiler/work.py``."""
    return 20 * text.count(OPEN)


@lru_cache(maxsize=4096)
def parse_text(text: str) -> Text:
    """Read a text of a template.

    Raises:
        ExpressionError: an expression in it cannot be read or does what none may do.
    """
    parts = tuple(_split(text))
    whole = len(parts) == 1 and isinstance(parts[0], Expression)
    return Text(parts, whole)


def shorten(text: str, limit: int = 120) -> str:
    """An expression as it is shown to people."""
    text = f"{OPEN} {text} }}}}"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _split(text: str) -> Iterator[str | Expression]:
    start = 0
    literal: list[str] = []
    while (opening := text.find(OPEN, start)) >= 0:
        literal.append(text[start:opening])
        if text[opening - 1 : opening] == "$":
            literal[-1] = literal[-1][:-1] + OPEN
            start = opening + len(OPEN)
            continue
        end = _end_of_expression(text, opening + len(OPEN))
        if joined := "".join(literal):
            yield joined
        literal = []
        yield _parse(text[opening + len(OPEN) : end].strip())
        start = end + 2
    literal.append(text[start:])
    if joined := "".join(literal):
        yield joined


def _end_of_expression(text: str, start: int) -> int:
    """Where its ``}}`` stands: not in quotes, and not part of a ``{…}`` of its own."""
    depth = 0
    for token in _TOKEN.finditer(text, start, start + MAX_EXPRESSION):
        match token[0]:
            case "{":
                depth += 1
            case "}" if depth:
                depth -= 1
            case "}" if text.startswith("}}", token.start()):
                return token.start()
            case "}":
                break
            case _:
                pass
    if len(text) - start > MAX_EXPRESSION:
        message = f"{shorten(text[start:])} does not end within {MAX_EXPRESSION} characters"
        raise ExpressionError(message, hint="close it with }}, or keep it shorter")
    message = f"{shorten(text[start:]).removesuffix(' }}')} does not end"
    raise ExpressionError(message, hint="close it with }}; write $${{ for a plain ${{")


def _parse(text: str) -> Expression:
    if not text:
        _refuse("it is empty", text)
    try:
        parser = Parser(_ENVIRONMENT, text, state="variable")
        node = parser.parse_expression()
        if not parser.stream.eos:
            _refuse(f"{parser.stream.current.value!r} is not expected here", text)
        reader = _Reader(text)
        reader.check(node, 0)
    except TemplateSyntaxError as error:
        _refuse(error.message or "it cannot be read", text)
    except RecursionError:
        _refuse("it is nested too deeply", text)
    except (ValueError, SyntaxError, OverflowError) as error:
        # Jinja reads numbers and quoted text by Python's own rules.
        _refuse(f"it cannot be read ({error})", text)
    return Expression(
        text, node, frozenset(reader.names), frozenset(reader.inputs), frozenset(reader.steps)
    )


def _refuse(why: str, text: str, hint: str | None = None) -> NoReturn:
    raise ExpressionError(f"{why} in {shorten(text)}", hint=hint)


class _Reader:
    """Walks an expression once: refuses what none may hold, and notes what it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self.inputs: set[str] = set()
        self.steps: set[str] = set()

    def check(self, node: nodes.Node, depth: int) -> None:
        if depth > MAX_NODE_DEPTH:
            _refuse("it is nested too deeply", self.text)
        self._check_kind(node)
        if isinstance(node, nodes.Getattr | nodes.Getitem) and self._take_read(node):
            return
        if isinstance(node, nodes.Name):
            self._take_name(node)
        for child in node.iter_child_nodes():
            self.check(child, depth + 1)

    def _check_kind(self, node: nodes.Node) -> None:
        match node:
            case nodes.Call():
                _refuse("nothing can be called", self.text, "use a filter, like name|lower")
            case nodes.Filter() if node.name not in FILTERS or node.node is None:
                _refuse(f"there is no filter {node.name!r}", self.text, _known(FILTERS))
            case nodes.Test() if node.name not in TESTS:
                _refuse(f"there is no test {node.name!r}", self.text, _known(TESTS))
            case nodes.Filter() | nodes.Test() if node.dyn_args or node.dyn_kwargs:
                _refuse("* and ** cannot stand before an argument", self.text)
            case nodes.Getattr() if node.attr.startswith("_"):
                _refuse(f"{node.attr!r} begins with an underscore", self.text)
            case nodes.CondExpr() if node.expr2 is None:
                _refuse("an if without else gives nothing", self.text, "add an else")
            case nodes.Const():
                self._check_constant(node.value)
            case _ if not isinstance(node, _ALLOWED):
                kind = type(node).__name__.lower()
                _refuse(f"{kind} is not allowed", self.text)
            case _:
                pass

    def _check_constant(self, value: Any) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not abs(value) < 2**63:
            _refuse("a number is too large", self.text)

    def _take_name(self, node: nodes.Name) -> None:
        if node.name not in NAMES:
            hint = f"there are {', '.join(NAMES)}; put text in quotes"
            _refuse(f"the name {node.name!r} is unknown", self.text, hint)
        if node.name == "steps":
            hint = "like steps.generate_repo.outputs.url"
            _refuse("steps must be followed by the name of a step", self.text, hint)
        self.names.add(node.name)

    def _take_read(self, node: nodes.Getattr | nodes.Getitem) -> bool:
        """Note ``inputs.x`` and ``steps.x.outputs``; whether there is nothing below to check."""
        key = _key_of(node)
        if not isinstance(node.node, nodes.Name):
            self._check_step_part(node.node, key)
            return False
        if not isinstance(key, str) or node.node.name not in {"inputs", "steps"}:
            return False
        self.names.add(node.node.name)
        if node.node.name == "inputs":
            self.inputs.add(key)
        else:
            self.steps.add(key)
        return True

    def _check_step_part(self, step: nodes.Expr, part: Any) -> None:
        is_step = (
            isinstance(step, nodes.Getattr | nodes.Getitem)
            and isinstance(step.node, nodes.Name)
            and step.node.name == "steps"
        )
        if is_step and part != "outputs":
            _refuse("a step has outputs and nothing else", self.text, "like steps.a.outputs.url")


def _key_of(node: nodes.Getattr | nodes.Getitem) -> Any:
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) else None


def _known(names: Mapping[str, Any]) -> str:
    return "there are " + ", ".join(name for name in sorted(names) if name[0].isalpha())

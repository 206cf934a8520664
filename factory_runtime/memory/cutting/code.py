"""Code along its functions and classes, as tree-sitter sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from factory_runtime.domain.piece import Piece, PieceKind
from factory_runtime.memory.cutting.grammars import Grammar, grammar_of, parse
from factory_runtime.memory.cutting.nodes import (
    body_of,
    borders_of,
    definition_in,
    first_line,
    header_end,
    is_braced,
    is_comment,
    last_line,
)
from factory_runtime.memory.cutting.parts import Size, fits, is_meaningful, split, text_of, trimmed
from factory_runtime.memory.cutting.source import SourceFile

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

_MAX_LINES = 50_000
"""A megabyte of more lines than that is no code that somebody wrote."""
_TINY = 3
"""Fewer lines that say something stay with what they stand in: getters, an empty constructor."""
_ATTRIBUTE = re.compile(r"\s*(?:@[\w.]+(?:\(.*\))?|\[.*\])\s*")
_SHORT_CLASS = Size(lines=40, characters=2_000)
"""Such a class is better understood whole."""
_MAX_DEPTH = 8
"""Classes in classes; each is gone through as often as it is deep."""
_SAYS_LITTLE = 12
"""Characters: a call of ``main()`` beside functions is not worth a piece."""
_IDLE = re.compile(
    r"\s*(?:if __name__ ==|(?:sys\.exit\()?main\(|_?log(?:ger)? *=|__all__ *=|[\"']use strict|set -|"
    r"export \{|export default \w+;|module\.exports *=)"
)


def cut_code(source: SourceFile) -> list[Piece] | None:
    """None where no grammar of ours reads it, or not in time."""
    grammar = grammar_of(source.language, source.dialect)
    if grammar is None or len(source.lines) > _MAX_LINES:
        return None
    # Lone surrogates cannot come up: the text was decoded strictly, or from Latin-1.
    tree = parse(grammar, "\n".join(source.lines).encode())
    if tree is None:
        return None
    return list(_Cutting(source, grammar, tree).pieces())


@dataclass(slots=True)
class _Share:
    """The lines that one piece has of the file; what is cut out of a class leaves its share."""

    kind: PieceKind
    name: str
    lines: set[int]


@dataclass(frozen=True, slots=True)
class _Member:
    """A node with the comments and decorators above it."""

    node: Node
    first: int
    last: int
    is_apart: bool
    """Whether it shares its lines with nothing beside it."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """Something that members stand in.

    Attributes:
        share: what keeps the lines of all that is not cut out.
        prefix: of the members' names; empty outside of classes.
        after, before: lines that members may not touch.
        depth: how many classes it stands in.
    """

    node: Node
    share: _Share
    prefix: str
    after: int
    before: int
    depth: int = 0


@dataclass
class _Cutting:
    source: SourceFile
    grammar: Grammar
    tree: Tree
    shares: list[_Share] = field(default_factory=list[_Share])

    @cached_property
    def borders(self) -> Mapping[int, int]:
        return borders_of(self.tree, self.source.lines)

    def pieces(self) -> Iterator[Piece]:
        count = len(self.source.lines)
        rest = _Share(PieceKind.FILE, self.source.name, set(range(1, count + 1)))
        # No recursion: sources may be nested as deep as they are long.
        scopes = [_Scope(self.tree.root_node, rest, "", 0, count + 1)]
        while scopes:
            scope = scopes.pop()
            for member in self._members(scope):
                inner = self._take(scope, member)
                if inner is not None:
                    scopes.append(inner)
        self._say_what_is_left(rest)
        for share in self.shares:
            yield from self._written(share)

    def _members(self, scope: _Scope) -> Iterator[_Member]:
        children = scope.node.named_children
        attached = self.grammar.attached
        solid = [c for c in children if not is_comment(c) and c.type not in attached]
        ends = {child.id: last_line(child) for child in solid}
        after = {b.id: ends[a.id] for a, b in pairwise(solid)}
        before = {a.id: first_line(b) for a, b in pairwise(solid)}
        for place, child in enumerate(children):
            if child.id not in ends:
                continue
            first = self._first_attached(scope, children, place)
            last = ends[child.id]
            is_apart = max(after.get(child.id, 0), scope.after) < first_line(child)
            is_apart = is_apart and last < min(before.get(child.id, last + 1), scope.before)
            yield _Member(child, first, last, is_apart)

    def _first_attached(self, scope: _Scope, children: Sequence[Node], place: int) -> int:
        first = first_line(children[place])
        above = place - 1
        while above >= 0 and self._belongs(children[above], first):
            first = first_line(children[above])
            above -= 1
        # A comment above the first thing in a body may count as standing before the body.
        before = scope.node.prev_sibling if above < 0 else None
        while before is not None and is_comment(before) and self._belongs(before, first):
            if first_line(before) <= scope.after:
                break
            first = first_line(before)
            before = before.prev_sibling
        return first

    def _belongs(self, node: Node, below: int) -> bool:
        is_attached = is_comment(node) or node.type in self.grammar.attached
        line = self.source.line(first_line(node))
        is_apart = not line[: node.start_point.column].strip() and not line.startswith("#!")
        return is_attached and is_apart and last_line(node) >= below - 1

    def _take(self, scope: _Scope, member: _Member) -> _Scope | None:
        """Cut a member out if it is worth it; what is to be looked into next, if anything."""
        node = member.node
        if node.is_error:
            return replace(scope, node=node)
        if node.type in self.grammar.imports:
            if member.is_apart:
                scope.share.lines -= set(range(first_line(node), member.last + 1))
            return None
        found = definition_in(self.grammar, node)
        if found is None:
            return None
        definition, name = found
        if definition.type in self.grammar.shells:
            return self._open(scope, definition)
        lines = range(member.first, member.last + 1)
        if not member.is_apart or self._is_tiny(definition, member):
            return None
        share = _Share(self._kind(definition), scope.prefix + name, set(lines))
        self.shares.append(share)
        scope.share.lines -= share.lines
        if scope.prefix:
            scope.share.lines |= self._signature(member, definition)
        body = body_of(definition)
        is_cut = share.kind is PieceKind.CLASS and not self._is_short(lines)
        if body is None or not is_cut or scope.depth >= _MAX_DEPTH:
            return None
        after, before = header_end(definition), member.last + 1
        if is_braced(body):
            after, before = first_line(body), last_line(body)
        return _Scope(body, share, f"{share.name}.", after, before, scope.depth + 1)

    def _is_tiny(self, definition: Node, member: _Member) -> bool:
        """Attributes and decorators above do not make it any larger."""
        lines = map(self.source.line, range(first_line(definition), member.last + 1))
        said = [s for s in lines if is_meaningful(s) and not _ATTRIBUTE.fullmatch(s)]
        return len(said) < _TINY

    def _kind(self, definition: Node) -> PieceKind:
        if definition.type in self.grammar.functions:
            return PieceKind.FUNCTION
        is_class = definition.type in self.grammar.classes
        return PieceKind.CLASS if is_class else PieceKind.SECTION

    def _open(self, scope: _Scope, shell: Node) -> _Scope:
        """A namespace: the lines that it begins and ends with say nothing of what stands in it."""
        body = body_of(shell)
        if body is None or not is_braced(body):
            return replace(scope, node=body or shell)
        inside = range(first_line(body) + 1, last_line(body))
        if all(inside.start <= first_line(child) for child in body.named_children):
            scope.share.lines -= set(range(first_line(shell), inside.start))
            if self.source.line(inside.stop).strip() == "}":
                scope.share.lines -= {inside.stop}
        return replace(scope, node=body, after=inside.start - 1, before=inside.stop)

    def _signature(self, member: _Member, definition: Node) -> set[int]:
        last = min(header_end(definition), member.last)
        return set(range(first_line(member.node), last + 1))

    def _is_short(self, lines: Sequence[int]) -> bool:
        characters = sum(len(self.source.line(number)) + 1 for number in lines)
        return _SHORT_CLASS.holds(len(lines), characters)

    def _say_what_is_left(self, rest: _Share) -> None:
        """What stands outside of all functions and classes, without stretches of comments."""
        kept: set[int] = set()
        said = 0
        for stretch in _stretches(sorted(rest.lines)):
            telling = [n for n in stretch if is_meaningful(self.source.line(n))]
            if telling:
                kept.update(stretch)
            said += sum(
                len(line.strip())
                for line in map(self.source.line, telling)
                if not _IDLE.match(line)
            )
        rest.lines = kept
        if said >= _SAYS_LITTLE or (said and not self.shares):
            self.shares.append(rest)

    def _written(self, share: _Share) -> Iterator[Piece]:
        lines = self.source.lines
        kept = trimmed(lines, sorted(share.lines))
        # Borders cost a walk through the whole tree: only where there is too much for one piece.
        is_whole = fits(lines, kept)
        for part in [kept] if is_whole else split(lines, kept, self.borders):
            path, language = self.source.path, self.source.language
            text = text_of(lines, part)
            yield Piece(path, share.kind, share.name, language, part[0], part[-1], text)


def _stretches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            yield numbers[start:place]
            start = place

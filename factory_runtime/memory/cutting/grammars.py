"""What tree-sitter's grammars call the things that are cut out; loaded when first used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tree_sitter import Language, Tree

_MAX_SECONDS = 5.0
"""Of the processor: where nothing fits the grammar, finding out takes quadratic time."""
_CHUNK = 16_384
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Grammar:
    """Types of nodes, by what we do with them.

    Attributes:
        package, language: where the grammar is.
        blocks: named pieces that are neither functions nor classes.
        shells: stand around others and are no piece themselves, like a namespace.
        wrappers: stand around one thing and belong to it, like ``export``.
        imports: say nothing by themselves.
        attached: stand above something and belong to it, beside comments.
    """

    package: str
    language: str = "language"
    functions: frozenset[str] = _NOTHING
    classes: frozenset[str] = _NOTHING
    blocks: frozenset[str] = _NOTHING
    shells: frozenset[str] = _NOTHING
    wrappers: frozenset[str] = _NOTHING
    imports: frozenset[str] = _NOTHING
    attached: frozenset[str] = _NOTHING


_SCRIPT_FUNCTIONS = frozenset(
    {
        "arrow_function",
        "function_declaration",
        "function_expression",
        "generator_function",
        "generator_function_declaration",
        "method_definition",
    }
)
_SCRIPT_WRAPPERS = frozenset(
    {
        "ambient_declaration",
        "assignment_expression",
        "export_statement",
        "expression_statement",
        "field_definition",
        "lexical_declaration",
        "public_field_definition",
        "variable_declaration",
        "variable_declarator",
    }
)
_JAVASCRIPT = Grammar(
    package="tree_sitter_javascript",
    functions=_SCRIPT_FUNCTIONS,
    classes=frozenset({"class", "class_declaration"}),
    wrappers=_SCRIPT_WRAPPERS,
    imports=frozenset({"import_statement"}),
    attached=frozenset({"decorator"}),
)


def _typescript(language: str) -> Grammar:
    return Grammar(
        package="tree_sitter_typescript",
        language=language,
        functions=_SCRIPT_FUNCTIONS,
        classes=frozenset(
            {
                "abstract_class_declaration",
                "class",
                "class_declaration",
                "enum_declaration",
                "interface_declaration",
                "type_alias_declaration",
            }
        ),
        shells=frozenset({"internal_module", "module"}),
        wrappers=_SCRIPT_WRAPPERS,
        imports=frozenset({"import_alias", "import_statement"}),
        attached=frozenset({"decorator"}),
    )


_GRAMMARS: Mapping[str, Grammar] = {
    "bash": Grammar(package="tree_sitter_bash", functions=frozenset({"function_definition"})),
    "c-sharp": Grammar(
        package="tree_sitter_c_sharp",
        functions=frozenset(
            {
                "constructor_declaration",
                "conversion_operator_declaration",
                "destructor_declaration",
                "event_declaration",
                "indexer_declaration",
                "local_function_statement",
                "method_declaration",
                "operator_declaration",
                "property_declaration",
            }
        ),
        classes=frozenset(
            {
                "class_declaration",
                "enum_declaration",
                "interface_declaration",
                "record_declaration",
                "struct_declaration",
            }
        ),
        shells=frozenset({"namespace_declaration"}),
        wrappers=frozenset({"global_statement"}),
        imports=frozenset(
            {"extern_alias_directive", "file_scoped_namespace_declaration", "using_directive"}
        ),
    ),
    "go": Grammar(
        package="tree_sitter_go",
        functions=frozenset({"function_declaration", "method_declaration"}),
        classes=frozenset({"type_spec"}),
        wrappers=frozenset({"type_declaration"}),
        imports=frozenset({"import_declaration", "package_clause"}),
    ),
    "hcl": Grammar(
        package="tree_sitter_hcl", blocks=frozenset({"block"}), shells=frozenset({"body"})
    ),
    "java": Grammar(
        package="tree_sitter_java",
        functions=frozenset(
            {"compact_constructor_declaration", "constructor_declaration", "method_declaration"}
        ),
        classes=frozenset(
            {
                "annotation_type_declaration",
                "class_declaration",
                "enum_declaration",
                "interface_declaration",
                "record_declaration",
            }
        ),
        shells=frozenset({"enum_body_declarations"}),
        imports=frozenset({"import_declaration", "package_declaration"}),
    ),
    "javascript": _JAVASCRIPT,
    "python": Grammar(
        package="tree_sitter_python",
        functions=frozenset({"function_definition"}),
        classes=frozenset({"class_definition"}),
        wrappers=frozenset({"decorated_definition"}),
        imports=frozenset({"future_import_statement", "import_from_statement", "import_statement"}),
    ),
    "typescript": _typescript("language_typescript"),
    "tsx": _typescript("language_tsx"),
}


def grammar_of(language: str, dialect: str) -> Grammar | None:
    """None where no parser reads the language."""
    return _GRAMMARS.get(dialect if dialect == "tsx" else language)


def parse(grammar: Grammar, content: bytes) -> Tree | None:
    """None where it takes too long; errors are nodes of the tree."""
    from tree_sitter import Parser

    parser = Parser(_loaded(grammar.package, grammar.language))
    # The time of this thread alone: a busy machine changes nothing of what is found.
    deadline = time.thread_time() + _MAX_SECONDS
    try:
        return parser.parse(
            lambda offset, _: content[offset : offset + _CHUNK],
            progress_callback=lambda _offset, _has_error: time.thread_time() > deadline,
        )
    except ValueError:
        return None


@cache
def _loaded(package: str, language: str) -> Language:
    from tree_sitter import Language

    return Language(cast("object", getattr(import_module(package), language)()))

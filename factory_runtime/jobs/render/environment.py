"""The Jinja environment of the box: Copier's sandbox, without what makes two renders differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn

from copier._jinja_ext import SandboxedEnvironment, get_yield_context
from jinja2 import Template, TemplateRuntimeError
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS

# The filters that Copier adds, as far as they compute from their arguments alone.
_PURE_FILTERS = """
    ans_groupby b64decode b64encode basename bool checksum combine comment dirname extract flatten
    from_json from_yaml from_yaml_all hash mandatory md5 quote regex_escape regex_findall
    regex_replace regex_search sha1 splitext subelements ternary to_json to_nice_json to_nice_yaml
    to_uuid to_yaml type_debug win_basename win_dirname win_splitdrive
"""
_OUTSIDE = ("expanduser", "expandvars", "fileglob", "realpath", "relpath")
_CHANGING = ("ans_random", "random", "random_mac", "shuffle", "strftime", "to_datetime")

_ENVOPS = """
    autoescape block_end_string block_start_string comment_end_string comment_start_string
    keep_trailing_newline line_comment_prefix line_statement_prefix lstrip_blocks newline_sequence
    trim_blocks undefined variable_end_string variable_start_string
"""
_COMPILED = 1000
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")


class UnsupportedSettingError(Exception):
    """A setting in ``copier.yml`` that a render does not support."""


class BoxedEnvironment(SandboxedEnvironment):
    """Pure filters only, and an unsafe attribute is an error even where it would print nothing."""

    def __init__(self, **options: Any) -> None:
        ours = {"loader", "extensions"}
        if unknown := sorted(options.keys() - set(_ENVOPS.split()) - ours):
            raise UnsupportedSettingError(f"_envops: {', '.join(unknown)} cannot be set")
        super().__init__(**options)
        self.finalize = _printable
        filters: dict[str, Callable[..., Any]] = vars(self)["filters"]
        for name in filters.keys() - FILTERS.keys() - set(_PURE_FILTERS.split()):
            del filters[name]
        filters |= {name: _refuse_outside(name) for name in _OUTSIDE}
        filters |= {name: _refuse_changing(name) for name in _CHANGING}
        self.globals.pop("lipsum", None)
        self._compiled = lru_cache(_COMPILED)(super().from_string)

    def from_string(self, source: Any, globals: Any = None, template_class: Any = None) -> Template:
        """Compile a text once; Copier asks again for every part of every path."""
        if globals is not None or template_class is not None:
            return super().from_string(source, globals, template_class)
        template = self._compiled(source)
        # What compiling resets, which Copier counts on.
        found = get_yield_context(self)
        found.yield_name = found.yield_iterable = None
        return template

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        """Raise at once; Jinja's own would print as an empty text."""
        kind = type(obj).__name__
        raise SecurityError(f"access to the attribute {attribute!r} of {kind!r} is unsafe")


def _refuse_outside(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: Any, **_options: Any) -> NoReturn:
        raise SecurityError(f"the filter {name!r} looks outside the template")

    return refuse


def _refuse_changing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: Any, **_options: Any) -> NoReturn:
        raise TemplateRuntimeError(f"the filter {name!r} would render something else every time")

    return refuse


def _printable(value: object) -> object:
    """The value itself, unless its text would be an address in memory."""
    if isinstance(value, str | int | float | None):
        return value
    if found := _ADDRESS.search(str(value)):
        raise TemplateRuntimeError(
            f"a {type(value).__name__} has no text of its own: {found[0].split(' at ')[0]}>; "
            "a |list or a call may be missing"
        )
    return value

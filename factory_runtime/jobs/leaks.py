"""Secrets that nobody told us of, in what is about to be published: found by their shape.

The shapes are those of detect-secrets (https://github.com/Yelp/detect-secrets): keys that a known
service gives out. Its guesses by entropy and by the names of variables are left out: on generated
code most of what they find is none.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import accumulate, islice
from typing import TYPE_CHECKING, cast

from factory_runtime.domain.errors import SecretLeakError
from factory_runtime.domain.secrets import SHORTEST

if TYPE_CHECKING:
    from detect_secrets.plugins.base import RegexBasedDetector

LARGEST = 4 << 20
"""Bytes of a file that are looked at; what comes later in it is not."""

_HINT = (
    "have it read where it runs, from the environment or a vault; a line that only looks like one"
    " ends in a comment: pragma: allowlist secret"
)
_DETECTORS = {
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "twilio": "TwilioKeyDetector",
}
_IN_GROUP = frozenset({"aws", "basic_auth", "npm"})
"""Their shapes are of what stands around a secret, too."""

_OURS = {
    "jwt": ("JSON Web Token", r"(?<![\w-])eyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?"),
    "npm": ("NPM tokens", r":_authToken=[ \t]*[\"']?(npm_\w+|[A-Fa-f0-9-]{36})"),
    "openai": ("OpenAI Token", r"[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
}
"""As theirs, without what takes the square of a line's length."""

_NAMED = 5
"""Places that an error names."""
_MOST = 50
"""Secrets that are looked for: enough for who has to take them out, and for hiding them."""

_LINE = 4096
_OVERLAP = 1024
"""Characters: a longer line is looked at in pieces, or a hostile one would take hours."""

_KEY = re.compile(r"BEGIN [^\n]{1,64}-----(?:.{1,16384}?-----END|.{1,4096})", re.DOTALL)
_KEY_LINES = 100
_REST = r"[\w.+/=-]*"
"""Of a token whose shape ends before it does."""
_WORDS = re.compile(r"[A-Za-z]*(?:[._-][A-Za-z]+)*")


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret in a file; ``line`` counts from 1, ``kind`` says what it looks like."""

    path: str
    line: int
    kind: str
    secret: str = field(repr=False)


def find_leaks(path: str, content: bytes) -> tuple[Leak, ...]:
    """What looks like a secret in a file; in one that is no text, nothing."""
    digest = hashlib.sha256(content).digest()
    if digest in _clean:
        return ()
    text = _text_of(content[:LARGEST])
    found = () if text is None else tuple(islice(_find(path, text), _MOST))
    if not found:
        _clean.add(digest)
    return found


def refuse_leaks(leaks: Iterable[Leak]) -> None:
    """Let nothing be published that holds one.

    Raises:
        SecretLeakError: there are some. It names places and kinds, and holds the secrets.
    """
    some = list(islice(leaks, _MOST))
    if not some:
        return
    places = [f"{leak.path}:{leak.line}: {leak.kind}" for leak in some[:_NAMED]]
    said = "; ".join([*places, *(["and more"] if len(some) > _NAMED else [])])
    secrets = [leak.secret for leak in some]
    raise SecretLeakError(
        f"there are secrets in what is published: {said}", hint=_HINT, secrets=secrets
    )


class _Clean:
    """Digests of contents that hold none: most are published again and again."""

    _MOST = 50_000

    def __init__(self) -> None:
        self._digests = set[bytes]()
        self._adding = threading.Lock()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        with self._adding:
            if len(self._digests) >= self._MOST:
                self._digests = set[bytes]()
            self._digests.add(digest)


_clean = _Clean()


def _text_of(content: bytes) -> str | None:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    # As git tells.
    return None if b"\0" in content[:8000] else content.decode("utf-8", "replace")


def _find(path: str, text: str) -> Iterator[Leak]:
    lines = text.split("\n")
    pieces = [(n, piece) for n, line in enumerate(lines, 1) for piece in _pieces(line)]
    whole = "\n".join(piece for _, piece in pieces)
    matches = [(one.kind, *told) for one in _detectors() for told in one.find(whole)]
    if not matches:  # as in most files
        return
    ends = list(accumulate(len(piece) + 1 for _, piece in pieces))
    # A set: where pieces overlap, it was found twice.
    found = {(pieces[bisect_right(ends, at)][0], kind, value) for kind, at, value in matches}
    for number, kind, value in sorted(found):
        if not _is_allowed(path, lines, number):
            yield Leak(path, number, kind, _whole_secret(value, lines, number))


def _pieces(line: str) -> Iterator[str]:
    if len(line) <= _LINE:
        yield line
        return
    for begin in range(0, len(line) - _OVERLAP, _LINE - _OVERLAP):
        yield line[begin : begin + _LINE]


def _is_allowed(path: str, lines: list[str], number: int) -> bool:
    from detect_secrets.filters.allowlist import is_line_allowlisted
    from detect_secrets.util.code_snippet import get_code_snippet

    line = lines[number - 1].rstrip()
    return is_line_allowlisted(path, line, get_code_snippet(lines, number))


def _whole_secret(value: str, lines: list[str], number: int) -> str:
    """Shapes are of how secrets begin: what follows belongs to them."""
    if value.startswith("BEGIN "):
        key = _KEY.search("\n".join(lines[number - 1 : number + _KEY_LINES]))
        return value if key is None else key[0]
    token = re.search(re.escape(value) + _REST, lines[number - 1])
    return value if token is None else token[0]


@dataclass(frozen=True, slots=True)
class _Detector:
    """One of detect-secrets'.

    Attributes:
        kind: what it calls what it finds.
        in_group: whether the secret is but a part of what its shapes match.
    """

    name: str
    kind: str
    shapes: tuple[re.Pattern[str], ...]
    in_group: bool

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """Where each one is, and what."""
        for shape in self.shapes:
            for match in shape.finditer(text):
                inner = next(filter(None, match.groups()), None) if self.in_group else None
                value = match[0] if inner is None else inner
                if not self._is_harmless(value):
                    yield match.start(), value

    def _is_harmless(self, value: str) -> bool:
        """What stands for a secret in examples, or only looks like one."""
        from detect_secrets.filters.heuristic import is_sequential_string, is_templated_secret
        from detect_secrets.plugins.jwt import JwtTokenDetector

        # One that AWS documents; `${PASSWORD}`; `0123456789`.
        if "EXAMPLE" in value or is_templated_secret(value) or is_sequential_string(value):
            return True
        match self.name:
            case "basic_auth":  # `postgres`, `your-password`
                return len(value) < SHORTEST or _WORDS.fullmatch(value) is not None
            case "jwt":
                return not JwtTokenDetector.is_formally_valid(value)
            case _:
                return False


@cache
def _detectors() -> tuple[_Detector, ...]:
    # Imported here: it brings an HTTP client along, and most commands publish nothing.
    found = [
        _Detector(name, kind, (re.compile(shape, re.ASCII),), name in _IN_GROUP)
        for name, (kind, shape) in _OURS.items()
    ]
    for name, of_class in _DETECTORS.items():
        theirs: RegexBasedDetector = getattr(
            import_module(f"detect_secrets.plugins.{name}"), of_class
        )()
        shapes = tuple(cast("Iterable[re.Pattern[str]]", theirs.denylist))
        found.append(_Detector(name, theirs.secret_type, shapes, name in _IN_GROUP))
    return tuple(found)

"""The fingerprint of a failure: the same for all failures of one kind, whoever they hit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

_LOOKED_AT = 4000
"""Characters of a message that are looked at."""

_KEPT = 500
"""Characters of the normalised message: what differs behind them makes no other kind."""

# In this order: what stands first wins. One pass, and each begins where a word begins: the time it
# takes grows with the message and no faster.
_VARYING = re.compile(
    r"""
      (?P<keep>\b(?:HTTP(?:/[\d.]+)?|status(?:\ code)?|errno|exit\ code|signal)[ :=]{1,3}\d{1,3}\b)
    | (?P<value>(?<!\w)(?:
        '[^'\n]{0,500}' | "[^"\n]{0,500}" | `[^`\n]{0,500}` | “[^”\n]{0,500}” | ‘[^’\n]{0,500}’
        )(?!\w))
    | (?P<url>\b[a-z][a-z0-9+.]{1,20}://[^\s'"<>]+)
    | (?P<time>\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?
        | \b\d\d:\d\d:\d\d(?:[.,]\d+)?\b)
    | (?P<id>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b
        | \b[a-z]{2,10}-[0-7][0-9a-hjkmnp-tv-z]{25}\b)
    | (?P<path>(?<![\w.~@+:\\-])(?:[A-Za-z]:)?[\w.~@+-]*+(?:[/\\][\w.@+=,\[\]-]+)+[/\\]?)
    | (?P<host>(?<![\w.-])(?:[\w-]++\.?)++:\d{2,5}\b | \b\d{1,3}(?:\.\d{1,3}){3}\b)
    | (?P<item>(?<=\w)\[[^\]\n]{0,200}\])
    | (?P<hex>\b0x[0-9a-fA-F]+\b | \b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{7,}\b)
    | (?P<n>\d+(?:[.,_]\d+)*)
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"(?<![\w<])[^\W\d_]")
"""A letter that is no placeholder's."""

_SPACE = re.compile(r"\s+")


def fingerprint(
    error_code: str, message: str, job_type: str, *, names: Iterable[str] = ()
) -> tuple[str, str]:
    """What kind of failure it is: 64 hex digits, and the message without what varies.

    Args:
        error_code: the class of the error; failures of two classes are never of one kind.
        message: what it said.
        job_type: whose job failed.
        names: of the run, the job, its project and tenant: they say whom it hit, not what it is.
    """
    normalised = _normalised(message[:_LOOKED_AT], names)
    # Lengths keep the three apart, whatever stands in them.
    parts = (error_code, job_type, normalised)
    told = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest(), normalised


def _normalised(message: str, names: Iterable[str]) -> str:
    without = _VARYING.sub(_placeholder, message)
    # Names last, so that what holds one among other things, like a path, is gone by now. What
    # varies is gone from them too.
    known = {_VARYING.sub(_placeholder, name) for name in names}
    telling = sorted((name for name in known if _WORD.search(name)), key=len, reverse=True)
    if telling:
        either = "|".join(map(re.escape, telling))
        without = re.sub(rf"(?<![\w<-])(?:{either})(?![\w-])", "<name>", without)
    return _SPACE.sub(" ", without).strip()[:_KEPT]


def _placeholder(found: re.Match[str]) -> str:
    kind = found.lastgroup
    if kind == "hex":
        kind = "n"  # the short form of a digest may have no letter in it
    return found[0] if kind == "keep" else f"<{kind}>"

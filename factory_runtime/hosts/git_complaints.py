"""What git's complaints about a fetch mean for who asked for it."""

from __future__ import annotations

import re

from factory_runtime.domain.errors import (
    FactoryError,
    HostBusyError,
    HostileTemplateError,
    HostRejectedError,
    TemplateNotFoundError,
    TemplateRefusedError,
)
from factory_runtime.domain.git_location import GitLocation
from factory_runtime.hosts.bounded_git import GitRefusedError

_NO_REF = re.compile(
    r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref", re.IGNORECASE
)
_NO_REPOSITORY = re.compile(r"repository '[^']*' not found|error: 404", re.IGNORECASE)
_MOVED = re.compile(r"error: 30[1278]|unable to update url base", re.IGNORECASE)
_BUSY = re.compile(
    r"could not resolve|failed to connect|timed out|error: (?:408|429|5\d\d)|hung up|early EOF"
    r"|connection (?:reset|refused|was)|recv failure|empty reply|operation too slow|RPC failed",
    re.IGNORECASE,
)
_MALFORMED = re.compile(r"fsck error|hasDot|badTree|duplicateEntries|fullPathname", re.IGNORECASE)


def meaning_of(error: GitRefusedError, location: GitLocation) -> FactoryError:
    """What git's refusal means for who asked."""
    complaint, url = error.complaint, location.url
    if _NO_REF.search(complaint):
        return TemplateNotFoundError(
            f"{url} has no tag, branch or commit {location.ref}", hint="look at what follows the @"
        )
    if _NO_REPOSITORY.search(complaint):
        return TemplateNotFoundError(f"there is no repository {url}", hint="look at the address")
    if _MOVED.search(complaint):
        return TemplateRefusedError(
            f"{url} leads elsewhere, and redirects are not followed",
            hint="name the address where it leads to, on a host that is listed",
        )
    if _MALFORMED.search(complaint):
        return HostileTemplateError(
            f"{url} holds objects that git does not make: {_said(complaint)}"
        )
    if _BUSY.search(complaint):
        return HostBusyError(f"{url} does not answer: {_said(complaint)}")
    return HostRejectedError(
        f"{url} cannot be fetched: {_said(complaint)}",
        hint="only what everybody may read is fetched: no name, password or token is sent",
    )


def _said(complaint: str) -> str:
    """Git's own words, and nothing that the server has it repeat."""
    lines = [line for line in complaint.splitlines() if line.startswith(("fatal:", "error:"))]
    return " ".join("".join(c if c.isprintable() else " " for c in " ".join(lines)).split())[:300]

"""What Azure DevOps answers where it does not do what it is asked, as errors of ours.

A refusal is JSON with ``message``, ``typeKey`` and the like: "Service errors" of
https://learn.microsoft.com/azure/devops/integrate/how-to/call-rest-api and, by example, what
https://github.com/microsoft/azure-devops-python-api reads in ``client.py`` and ``exceptions.py``.
A token that is no good is mostly not refused but led to a page to sign in: 203 with HTML, or 302.
"""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
from pydantic import BaseModel, Field, ValidationError

from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    HostBusyError,
    HostRejectedError,
    InputError,
    NotFoundError,
)

_WORDS = 300
"""Characters of what the host says, in a message of ours."""

# In git's protocol its length stands before a line, without a space.
_CODE = re.compile(r"(?<![A-Z])(?:TF|VS|VSS|VSSF)\d{5,7}\b")
_NO_PROJECT = re.compile(r"TF200016|TF200014|VS800075|ProjectDoesNotExist")
_NO_PERMISSION = re.compile(r"TF401027|GitNeedsPermission|AccessDenied|AccessCheck|permission")
# "You need the Git 'GenericContribute' permission", "needs the following permission(s) …: Queue
# builds", "does not have Create repository permissions".
_PERMISSION = re.compile(
    r"'(?P<quoted>[A-Za-z ]+)' permission"
    r"|following permission(?:\(s\)|s)?[^:]*: *(?P<listed>[A-Za-z ,]+[A-Za-z])"
    r"|(?:does not|do not|doesn't|don't) have (?!sufficient |the necessary )"
    r"(?P<named>[A-Za-z ]{3,60}?) permissions?\b"
)
_SIGN_IN = frozenset({203, 300, 301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})


class MissingError(NotFoundError):
    """What the path names is not there, or hidden from us."""


class TakenError(ConflictError):
    """409: it collides with what is there.

    Attributes:
        host_code: like ``TF400948``; empty where the host gives none.
    """

    def __init__(self, message: str, host_code: str) -> None:
        super().__init__(message)
        self.host_code = host_code


class FailedError(HostBusyError):
    """The host failed at this one request, 5xx: for some things that are missing, always."""


class TurnedDownError(HostRejectedError):
    """The host understands and does not want to.

    Attributes:
        host_code: like ``TF401027``; empty where it gives none.
        permission: that we lack, as the host names it; None where it is not about one.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        host_code: str = "",
        permission: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.host_code = host_code
        self.permission = permission


class Complaint(BaseModel):
    """The body of a refusal."""

    message: str = ""
    kind: str = Field(default="", alias="typeKey")

    @property
    def words(self) -> str:
        """On one line, short, fit to print."""
        return plain(self.message)

    @property
    def code(self) -> str:
        found = _CODE.search(self.message)
        return found[0] if found else ""

    @property
    def permission(self) -> str | None:
        """The one that is missing, where that is what the complaint is about."""
        if _NO_PERMISSION.search(f"{self.kind} {self.message}") is None:
            return None
        found = _PERMISSION.search(self.message)
        return next((one.strip() for one in found.groups() if one), None) if found else None


def plain(words: str) -> str:
    """On one line, short, fit to print."""
    printable = "".join(c if c.isprintable() else " " for c in words)
    return " ".join(printable.split())[:_WORDS]


def is_answer(answer: httpx.Response) -> bool:
    """Whether it answers the question; a page for people does not."""
    return answer.is_success and answer.status_code not in _SIGN_IN and not _is_page(answer)


def refusal(
    host: str, answer: httpx.Response, complaint: Complaint, *, project: str | None = None
) -> FactoryError:
    """The error for an answer that is none.

    Args:
        host: the organisation, as messages call it.
        answer: its status and headers are looked at.
        complaint: what its body says, without the token.
        project: that the path names.
    """
    status, words = answer.status_code, complaint.words
    said = f"{host} answers {status}: {words}".rstrip(": ")
    if status in _LATER or status >= 500:
        kind = FailedError if status == 500 else HostBusyError
        return kind(said, retry_after=retry_after_of(answer))
    if status == 401 or status in _SIGN_IN or answer.is_success:
        return not_accepted(host, status)
    if status == 403:
        return forbidden(host, complaint)
    if _is_page(answer):
        return TurnedDownError(
            f"{host} answers {status} with a page for people",
            hint="look whether the URL is an organisation's of Azure DevOps",
        )
    if status == 404:
        about = f"{complaint.kind} {complaint.message}"
        if project is not None and _NO_PROJECT.search(about):
            return no_project(host, project)
        return MissingError(said)
    if status == 409:
        return TakenError(said, complaint.code)
    hint = "make what is sent at once smaller" if status == 413 else None
    return TurnedDownError(said, hint=hint, host_code=complaint.code)


def not_accepted(host: str, status: int) -> TurnedDownError:
    """The error for a token that is wrong, expired or revoked: the host does not tell which."""
    how = "with 401" if status == 401 else "with a page to sign in"
    return TurnedDownError(
        f"{host} does not accept the token: it answers {how}",
        hint="look whether it has expired or was revoked, and whether it is of this organisation",
    )


def forbidden(host: str, complaint: Complaint) -> TurnedDownError:
    """The error for a token that may not do this."""
    permission = complaint.permission
    lacks = f"the permission {permission}" if permission else "a permission"
    return TurnedDownError(
        f"{host} refuses: the token lacks {lacks}: {complaint.words}".rstrip(": "),
        hint=f"give its owner {lacks} there, and the token the scope that goes with it",
        host_code=complaint.code,
        permission=permission,
    )


def no_project(host: str, project: str) -> InputError:
    """The error for a project that is not there, or not for us."""
    return InputError(
        f"{host} has no project {project}, or does not show it to us",
        hint="make the project there, or give the token's owner access to it",
    )


def complaint_of(body: str, *, is_text: bool = False) -> Complaint:
    """What a body says; empty where it is a page for people.

    Args:
        body: JSON, or what is told to git: a line with a code, behind what is for git alone.
        is_text: whether it is text by its type, and counts without a code.
    """
    try:
        return Complaint.model_validate_json(body)
    except ValidationError:
        code = _CODE.search(body)
        if body.lstrip().startswith("<") or not (code or is_text):
            return Complaint()
        return Complaint(message=body[code.start() :].partition("\n")[0] if code else body)


def retry_after_of(answer: httpx.Response) -> timedelta | None:
    """How long the host asks us to wait, at most a day."""
    seconds = answer.headers.get("retry-after", "")
    known = seconds.isascii() and re.fullmatch(r"\d{1,9}(\.\d{1,6})?", seconds)
    return timedelta(seconds=min(float(seconds), 86_400)) if known else None


def _is_page(answer: httpx.Response) -> bool:
    return answer.headers.get("content-type", "").startswith("text/html")

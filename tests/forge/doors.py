"""Who may come in: credentials, versions of the API, permissions.

Permissions are told as people report them: TF401027 of Git's, TF50309 of the others; a token
without the scope as in https://developercommunity.visualstudio.com under TF400813. Scopes stand in
the Swagger of each route. That a bad token is answered by a page to sign in, with 203 or 302, is in
https://learn.microsoft.com/azure/devops/integrate/get-started/authentication/authentication-guidance.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from tests.forge.git_http import lacking
from tests.forge.route import Route
from tests.forge.speech import Answer, RefusedError, Token
from tests.forge.world import World

VERSION = "7.1"
_SIGN_IN = (
    b"<!DOCTYPE html><html><head><title>Azure DevOps Services | Sign In</title></head></html>"
)
HTML = {"Content-Type": "text/html; charset=utf-8"}
_GIT = ("Generic", "Create", "Delete", "Rename", "ForcePush", "PullRequest", "Manage", "Policy")


def given_token(world: World, headers: Mapping[str, str], path: str) -> Token | None:
    """Of whoever asks: a bearer's, or a password with any user; None of a stranger."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif kind.lower() != "bearer":
        return None
    token, organization = world.tokens.get(value), path.split("/")[1]
    return token if token and token.organization in (None, organization) else None


def sign_in_page() -> Answer:
    return Answer(_SIGN_IN, headers=HTML)


def to_stranger(world: World, redirects: bool) -> Answer:
    """A page to sign in, or the way there, where a program expects JSON."""
    if redirects:
        return Answer(
            _SIGN_IN, 302, {**HTML, "Location": f"{world.url}/_signin?realm=dev.azure.com"}
        )
    return Answer(_SIGN_IN, 203, HTML)


def check_token(token: Token, route: Route) -> None:
    if token.expired:
        message = "Access Denied: The Personal Access Token used has expired."
        raise RefusedError(401, "AccessCheckException", message)
    if not token.has_scope(route.needs.scope):
        message = f"TF400813: The user '{token.id}' is not authorized to access this resource."
        raise RefusedError(401, "UnauthorizedRequestException", message)
    needed = route.needs.permission
    if token.may(needed) or needed is None:
        return
    if needed.startswith(_GIT):
        raise RefusedError(403, "GitNeedsPermissionException", lacking(needed, token))
    message = (
        "TF50309: The following account does not have sufficient permissions to complete the "
        f"operation: {token.user}. The following permissions are needed to perform this "
        f"operation: {needed}."
    )
    raise RefusedError(403, "AccessCheckException", message)


def check_version(route: Route, asked: str | None) -> None:
    if asked is None:
        message = (
            f'No api-version was supplied for the "{route.method}" request. The version must be '
            'supplied either as part of the Accept header (e.g. "application/json; '
            'api-version=1.0") or as a query parameter (e.g. "?api-version=1.0").'
        )
        raise RefusedError(400, "VssVersionNotSpecifiedException", message)
    if asked.partition("-")[0] != VERSION:
        message = f"The requested REST API version of {asked} is out of range for this server."
        raise RefusedError(400, "VssVersionOutOfRangeException", message)
    if route.preview and "-preview" not in asked:
        message = (
            f'The requested version "{asked}" of the resource is under preview. The -preview flag '
            "must be supplied in the api-version for such requests."
        )
        raise RefusedError(400, "VssInvalidPreviewVersionException", message)

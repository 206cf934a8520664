"""The embedded profile needs no key: whoever reaches the loopback of this machine is its owner.

A page in the owner's browser reaches it too. So the request must name this machine as its host,
which a page that rebinds a name of its own cannot do, and must not come from another origin. And a
proxy on this machine reaches it for the whole network: what one says of itself is refused, and so is
HTTP/1.0, which proxies speak that say nothing.
"""

from __future__ import annotations

import os
import pwd
from urllib.parse import urlsplit

from fastapi import Request

from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.errors import SettingsError, UnauthenticatedError
from factory_runtime.domain.loopback import is_loopback
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.api_keys import has_good_key
from factory_runtime.settings import Settings

_OF_PROXIES = ("forwarded", "via", "x-real-ip", "x-client-ip", "x-original-host")


def has_owner(settings: Settings) -> bool:
    """Whether who comes without a credential is the owner: nobody else can come, as it is set."""
    embedded = settings.database_url is None
    return embedded and is_loopback(settings.api_host) and not settings.api_proxies


def check_bind(settings: Settings, store: RunStore, clock: Clock, host: str) -> None:
    """Refuse to listen to a network where there is nothing that anybody could show.

    Of the embedded profile: what shares a database with others answers nobody without a credential.

    Raises:
        SettingsError: the host is not the loopback, and there are neither good keys nor issuers.
    """
    if is_loopback(host) or settings.database_url is not None or settings.oidc_issuers:
        return
    if not has_good_key(store, clock, settings.tenant):
        raise SettingsError(
            f"the API listens at {host} only where there is a key, or an issuer of tokens",
            hint="make one with `factory keys add NAME --role admin`, or set FACTORY_OIDC_ISSUERS",
        )


class LoopbackOwner:
    """Takes who comes over the loopback for the owner of the factory.

    It is asked last: who shows a credential comes with that one, or not at all.
    """

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._name = _owner()

    def recall(self, request: Request) -> Principal | None:
        """Nobody: the owner is found by looking at the request alone, and last."""

    def find(self, request: Request) -> Principal | None:
        """The owner; None where the request came over a network."""
        if request.client is None or not is_loopback(request.client.host):
            return None
        named, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not is_loopback(_name_in(f"//{named}")) or _is_passed_on(request):
            raise UnauthenticatedError(
                "without a key, this machine answers by the name of its loopback alone",
                hint="ask http://127.0.0.1, or make a key: factory keys add",
            )
        if origin is not None and origin.partition("://")[2] != named:
            raise UnauthenticatedError("without a key, nobody answers pages of other origins")
        admin = (Grant(Role.ADMIN),)
        return Principal(self._name, self._tenant_id, admin, origin=request.client.host)


def _owner() -> str:
    """The operating system's user, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return f"uid-{os.getuid()}"


def _name_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_passed_on(request: Request) -> bool:
    names = request.headers.keys()
    says_so = any(name in _OF_PROXIES or name.startswith("x-forwarded") for name in names)
    return says_so or request.scope.get("http_version") == "1.0"

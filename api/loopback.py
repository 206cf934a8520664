"""The embedded profile needs no key: whoever reaches the loopback of this machine is its owner.

A page in the owner's browser reaches it too. So the request must name this machine as its host,
which a page that rebinds a name of its own cannot do, and must not come from another origin.
"""

from __future__ import annotations

import getpass
import ipaddress
from urllib.parse import urlsplit

from fastapi import Request

from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.errors import UnauthenticatedError


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class LoopbackOwner:
    """Takes who comes over the loopback without a credential for the owner of the factory."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._name = getpass.getuser()

    def find(self, request: Request) -> Principal | None:
        """The owner; None where the request came over a network."""
        if request.client is None or not is_loopback(request.client.host):
            return None
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        origin = request.headers.get("origin")
        if not is_loopback(host) or "x-forwarded-for" in request.headers:
            raise UnauthenticatedError(
                "without a key, this machine answers by the name of its loopback alone",
                hint="ask http://127.0.0.1, or make a key: factory keys add",
            )
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise UnauthenticatedError("without a key, nobody answers pages of other origins")
        admin = (Grant(Role.ADMIN),)
        return Principal(self._name, self._tenant_id, admin, origin=request.client.host)

"""Where data may come from: files below the roots, hosts that are listed, and no other."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from factory_runtime.domain.errors import DataRefusedError, HostBusyError

_USUAL_PORTS = {"http": 80, "https": 443}
SAMPLE = "sample:"
_WITH_IPV4 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")))
"""NAT64, SIIT and the oldest notation (RFC 6052, 2765, 4291): the last four bytes are the address."""
_INSIDE = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "5f00::/16", "fec0::/10")))
"""Of one network alone (RFC 8215, 9602, 3879); some releases of Python call them global."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset({"168.63.129.16"})
"""Public by its number, and in truth the host of a virtual machine (Azure)."""
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f-\x9f]")


def parse_url(url: str) -> SplitResult:
    """A web address in its parts.

    Raises:
        DataRefusedError: it is none that data are fetched from, listed or not.
    """
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise DataRefusedError(f"{shown(url)} is no address: {exc}") from exc
    if _NOT_IN_URLS.search(url) or not parts.netloc.isascii():
        raise DataRefusedError(
            f"{shown(url)} has characters that an address has not",
            hint="write %20 for a space, and a name of other letters as xn--…",
        )
    if parts.scheme not in _USUAL_PORTS or not has_host:
        raise DataRefusedError(
            f"data cannot be fetched from {shown(url)}", hint="use https://, http:// or file:///"
        )
    if parts.username is not None or parts.password is not None:
        raise DataRefusedError(
            f"{shown(url)} holds a name or a password", hint="inputs are kept: leave secrets out"
        )
    return parts


def shown(location: str) -> str:
    """A location for people and records: no name, password, query or fragment."""
    try:
        parts = urlsplit(location)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        text = urlunsplit(bare)
    except ValueError:
        text = location
    return repr(text)[1:-1][:200]


def addresses_of(
    parts: SplitResult,
    listed: Iterable[str],
    *,
    what: str = "data may be fetched from",
    setting: str = "FACTORY_DATA_HOSTS",
) -> list[str]:
    """The addresses at which the host may be asked, looked up once: what is asked is what was seen.

    A host that is listed by its own name may be anywhere; one that only a ``*`` covers has to have
    public addresses alone.

    Raises:
        DataRefusedError: it is not listed, or is in a private network.
        HostBusyError: its name cannot be looked up now.
    """
    host, port = port_of(parts)
    by_name, by_star = _listed(parts, listed)
    if not by_name and not by_star:
        raise DataRefusedError(
            f"{_spelled(host, port)} is no host that {what}",
            hint=f'an operator lists it: {setting}=\'["host", "host:port"]\'',
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise HostBusyError(f"the name {host} cannot be looked up: {exc.strerror}") from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not by_name and not all(_is_public(address) for address in addresses):
        raise DataRefusedError(
            f"{host} is in a private network, and listed only by a *",
            hint="list it by its own name",
        )
    return addresses


def port_of(parts: SplitResult) -> tuple[str, int]:
    """Host and port of an address that ``parse_url`` took."""
    return str(parts.hostname), parts.port or _USUAL_PORTS[parts.scheme]


def is_listed(parts: SplitResult, listed: Iterable[str]) -> bool:
    """Whether a list has the host of an address, by its name or by a star."""
    return any(_listed(parts, listed))


def _listed(parts: SplitResult, listed: Iterable[str]) -> tuple[bool, bool]:
    """Whether the host is listed by its name, and whether by a star."""
    host, port = port_of(parts)
    is_usual = port == _USUAL_PORTS[parts.scheme]
    by_name = by_star = False
    for entry in listed:
        try:
            entry_parts = urlsplit(f"//{entry.strip().lower()}")
            wanted, wanted_port = entry_parts.hostname or "", entry_parts.port
        except ValueError:
            continue  # it matches nothing
        if port != wanted_port and not (wanted_port is None and is_usual):
            continue
        by_name |= host == wanted
        by_star |= wanted == "*" or (wanted.startswith("*.") and host.endswith(wanted[1:]))
    return by_name, by_star


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    v6 = isinstance(parsed, ipaddress.IPv6Address)
    return all(
        one.is_global
        and not one.is_multicast
        and str(one) not in _METADATA
        and not any(one in network for network in _INSIDE)
        for one in (_meanings(parsed) if v6 else [parsed])
    )


def _meanings(address: ipaddress.IPv6Address) -> list[_Address]:
    """It, and those of IPv4 that a gateway or the system itself would ask in its place."""
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    within = [address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _WITH_IPV4):
        within.append(ipaddress.IPv4Address(address.packed[-4:]))
    return [address, *(one for one in within if one is not None)]


def _spelled(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def open_file(location: str, roots: Iterable[Path]) -> Generator[tuple[BinaryIO, os.stat_result]]:
    """A regular file below one of the roots, links followed before that is looked at.

    Args:
        location: ``file:///…`` or an absolute path.
        roots: folders.

    Raises:
        DataRefusedError: it lies elsewhere, or is no regular file.
        HostBusyError: it is not there, or cannot be read now.
    """
    path = _path_of(location)
    try:
        place = path.resolve(strict=True)
        if not any(place.is_relative_to(root.expanduser().resolve()) for root in roots):
            raise _outside(location)
        # Opened without waiting: what has become a pipe meanwhile has nobody at its other end.
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if not any(path.is_relative_to(root.expanduser().absolute()) for root in roots):
            raise _outside(location) from None  # nor is it told what is there
        raise HostBusyError(f"{shown(location)} cannot be read: {exc.strerror}") from exc
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise DataRefusedError(f"{shown(location)} is no file")
    with os.fdopen(handle, "rb") as body:
        yield body, facts


def _path_of(location: str) -> Path:
    parts = urlsplit(location)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise DataRefusedError(f"{shown(location)} names another machine")
        location = unquote(parts.path)
    path = Path(location)
    if not path.is_absolute() or "\0" in location:
        raise DataRefusedError(
            f"{shown(location)} is no absolute path", hint="use https://, file:/// or /a/path"
        )
    return Path(os.path.normpath(path))


def _outside(location: str) -> DataRefusedError:
    return DataRefusedError(
        f"{shown(location)} lies below no folder that data may come from",
        hint="an operator names folders: FACTORY_SOURCE_ROOTS='[\"/a/folder\"]'",
    )

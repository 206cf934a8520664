"""What a push says by git's smart HTTP protocol, and what it is told.

https://git-scm.com/docs/gitprotocol-http, https://git-scm.com/docs/gitprotocol-pack
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SERVICE = "git-receive-pack"
NO_OBJECT = "0" * 40
"""Where a ref is that is not there."""

_HEADER = 4
_FLUSH = b"0000"
_KINDS = ("refs/heads/", "refs/tags/")
_PEELED = "^{}"
_ERROR = b"ERR "
_SIDE_BAND = "side-band-64k"
_ASKED = ("report-status", _SIDE_BAND, "quiet")
_REPORT, _FATAL = 1, 3
_UNNAMED = "unpacker error"
"""What is said of a ref whose objects were not taken: why is said of those. So where no reason is."""


class UnreadableError(ValueError):
    """It does not follow the protocol, or says that it cannot go on."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a repository says before it is pushed to.

    Attributes:
        refs: its branches and tags, by their whole names, and where they are at.
        capabilities: what may be asked for, like ``side-band-64k``.
    """

    refs: Mapping[str, str]
    capabilities: frozenset[str]

    @property
    def takes_offsets(self) -> bool:
        """Whether a pack may say where the base of a delta is, instead of which it is."""
        return "ofs-delta" in self.capabilities


def read_offer(body: bytes) -> Offer:
    """The answer to ``GET …/info/refs?service=git-receive-pack``.

    Raises:
        UnreadableError: it is none.
    """
    packets = _packets(body)
    if next(packets, None) != f"# service={SERVICE}".encode() or next(packets, None) is not None:
        raise UnreadableError("it offers no refs")
    refs: dict[str, str] = {}
    capabilities = ""
    for packet in packets:
        if packet is None:
            break
        line, _, more = packet.decode(errors="replace").partition("\0")
        capabilities = capabilities or more
        sha, _, name = line.partition(" ")
        if name.startswith(_KINDS) and not name.endswith(_PEELED):
            refs[name] = sha
    return Offer(refs, frozenset(capabilities.split()))


def write_command(offer: Offer, sha: str, ref: str, expected: str | None) -> bytes:
    """What comes before the pack: move one ref from where it is expected to be; None is nowhere."""
    asked = " ".join(name for name in _ASKED if name in offer.capabilities)
    line = f"{expected or NO_OBJECT} {sha} {ref}\0{asked}".encode()
    return b"%04x%b%b" % (len(line) + _HEADER, line, _FLUSH)


def read_report(body: bytes, offer: Offer, ref: str) -> str | None:
    """Why the ref was not moved; None where it was.

    Raises:
        UnreadableError: it does not say what has become of the ref, or that it broke off.
    """
    if _SIDE_BAND in offer.capabilities:
        body = b"".join(_reported(body))
    unpacked: str | None = None
    moved: str | None = None  # empty where it was
    for packet in _packets(body):
        kind, _, rest = (packet or b"").decode(errors="replace").partition(" ")
        name, _, why = rest.partition(" ")
        if kind == "unpack":
            unpacked = rest.strip() or _UNNAMED
        elif kind in ("ok", "ng") and name == ref:
            moved = moved or ("" if kind == "ok" else why.strip() or _UNNAMED)
    if unpacked is None or (unpacked == "ok" and moved is None):
        raise UnreadableError("it does not say what has become of the push")
    if unpacked != "ok" and moved in (None, "", _UNNAMED):
        return unpacked
    return moved or None


def _reported(body: bytes) -> Iterator[bytes]:
    """What lies in the band of the report; the other one tells people how far it is."""
    for packet in _packets(body, whole_lines=False):
        if packet and packet[0] == _REPORT:
            yield packet[1:]
        elif packet and packet[0] == _FATAL:
            raise UnreadableError(packet[1:].decode(errors="replace"))


def _packets(body: bytes, *, whole_lines: bool = True) -> Iterator[bytes | None]:
    """Each without its length, and as a line without its end; None is where a list ends."""
    at = 0
    while at < len(body):
        header = body[at : at + _HEADER]
        try:
            size = int(header, 16)
        except ValueError:
            raise UnreadableError(f"{header!r} is no length") from None
        if size == 0:
            yield None
            at += _HEADER
            continue
        packet = body[at + _HEADER : at + size]
        if len(packet) != size - _HEADER:
            raise UnreadableError("it is cut off")
        if packet.startswith(_ERROR):
            raise UnreadableError(packet.removeprefix(_ERROR).decode(errors="replace"))
        yield packet.removesuffix(b"\n") if whole_lines else packet
        at += size

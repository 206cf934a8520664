"""References to what lies in a registry: container images and packages, held to their digest."""

from __future__ import annotations

import re

from factory_runtime.domain.errors import InputError

_SHA256 = re.compile(r"[0-9a-f]{64}")

# A host with its port, then a repository as
# https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests has it.
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"oci://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{{1,5}})?(?:/{_NAME})+"
    r"@sha256:(?P<sha256>[0-9a-f]{64})"
)
# https://github.com/package-url/purl-spec/blob/main/PURL-SPECIFICATION.rst: type, namespace, name,
# version, qualifiers and subpath.
_PACKAGE = re.compile(
    r"pkg:[a-z][a-z0-9.-]*(?:/[^\s/@?#]+)+@[^\s/@?#]+(?:\?[^\s#]+)?(?:#\S+)?", re.ASCII
)


def check_image(uri: str, sha256: str | None) -> None:
    """Refuse what names no one image, whatever its tags come to mean.

    Raises:
        InputError: it is not ``oci://REGISTRY/REPOSITORY@sha256:DIGEST``, or another's digest.
    """
    found = _IMAGE.fullmatch(uri)
    if found is None or found["sha256"] != sha256:
        raise InputError(
            f"{uri[:200]!r} names no image by its digest",
            hint="oci://REGISTRY/REPOSITORY@sha256:DIGEST, and the same as `sha256`",
        )


def check_package(uri: str, sha256: str | None) -> None:
    """Refuse what names no one version of a package, or does not say what is in it.

    Raises:
        InputError: it is not ``pkg:TYPE/NAME@VERSION``, or has no digest.
    """
    if _PACKAGE.fullmatch(uri) is None or _SHA256.fullmatch(sha256 or "") is None:
        raise InputError(
            f"{uri[:200]!r} names no version of a package with its digest",
            hint="pkg:TYPE/NAME@VERSION, and the SHA-256 of its file as `sha256`",
        )

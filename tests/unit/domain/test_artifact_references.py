"""Images and packages are named so that they can be no others tomorrow."""

from __future__ import annotations

import pytest

from factory_runtime.domain.artifact import ArtifactDraft, ArtifactKind
from factory_runtime.domain.errors import InputError

SHA = "5c" * 32
IMAGE = "application/vnd.oci.image.manifest.v1+json"


def a_reference(kind: ArtifactKind, uri: str, sha256: str | None = SHA) -> ArtifactDraft:
    return ArtifactDraft(kind, "orders", uri, IMAGE, sha256=sha256)


@pytest.mark.parametrize(
    "place",
    [
        "registry.example.com/shop/orders",
        "127.0.0.1:5000/orders",
        "acme.azurecr.io/team-a/orders_api/v1.2",
    ],
)
def test_an_image_is_named_by_its_registry_and_its_digest(place: str):
    draft = a_reference(ArtifactKind.IMAGE, f"oci://{place}@sha256:{SHA}")
    assert draft.sha256 == SHA


@pytest.mark.parametrize(
    ("uri", "sha256"),
    [
        ("oci://registry.example.com/orders:latest", SHA),
        ("oci://registry.example.com/orders", SHA),
        (f"oci://registry.example.com/orders@sha256:{SHA}", None),
        (f"oci://registry.example.com/orders@sha256:{SHA}", "5d" * 32),
        (f"oci://registry.example.com@sha256:{SHA}", SHA),
        (f"oci://user:secret@registry.example.com/orders@sha256:{SHA}", SHA),
        (f"oci://registry.example.com/../orders@sha256:{SHA}", SHA),
        (f"oci://registry.example.com/Orders@sha256:{SHA}", SHA),
        (f"oci://registry.example.com/orders@sha256:{SHA}\n", SHA),
        (f"https://registry.example.com/orders@sha256:{SHA}", SHA),
        (f"artifact:sha256:{SHA}", SHA),
    ],
)
def test_what_could_be_another_image_tomorrow_is_none(uri: str, sha256: str | None):
    with pytest.raises(InputError, match="names no image"):
        a_reference(ArtifactKind.IMAGE, uri, sha256)


@pytest.mark.parametrize(
    "uri",
    [
        "pkg:pypi/orders@1.2.0",
        "pkg:npm/%40acme/orders@1.2.0",
        "pkg:maven/com.acme/orders@1.2.0?type=jar",
        "pkg:golang/github.com/acme/orders@v1.2.0#cmd/api",
        "pkg:nuget/Acme.Orders@1.2.0",
    ],
)
def test_a_package_is_named_by_its_purl_with_its_version(uri: str):
    assert a_reference(ArtifactKind.PACKAGE, uri).uri == uri


@pytest.mark.parametrize(
    ("uri", "sha256"),
    [
        ("pkg:pypi/orders", SHA),
        ("pkg:pypi/orders@", SHA),
        ("pkg:pypi@1.2.0", SHA),
        ("pkg:pypi/orders@1.2.0", None),
        ("pkg:pypi/orders@1.2.0", SHA.upper()),
        ("pkg:pypi/orders @1.2.0", SHA),
        ("pypi:orders@1.2.0", SHA),
        ("https://pypi.org/project/orders", SHA),
    ],
)
def test_what_says_no_version_or_no_digest_is_no_package(uri: str, sha256: str | None):
    with pytest.raises(InputError, match="names no version"):
        a_reference(ArtifactKind.PACKAGE, uri, sha256)

"""What git says of Azure DevOps, as people report it, and what that means."""

from __future__ import annotations

import pytest

from factory_runtime.domain.errors import FactoryError, HostBusyError, HostRejectedError
from factory_runtime.hosts.azure_devops.errors import MissingError, TurnedDownError
from factory_runtime.hosts.azure_devops.remote import (
    ProtectedBranchError,
    meaning_of,
    refused_push,
)
from factory_runtime.hosts.git import BranchMovedError

URL = "https://dev.azure.com/acme/shop/_git/orders"


@pytest.mark.parametrize(
    ("why", "error", "words"),
    [
        (
            "TF402455: Pushes to this branch are not permitted; you must use a pull request to"
            " update this branch.",
            ProtectedBranchError,
            r"use a pull request to update this branch\.$",
        ),
        (
            "TF401028: The reference 'refs/heads/main' has already been updated by another client,"
            " so you cannot update it.",
            BranchMovedError,
            "somebody else",
        ),
        ("incorrect old value provided", BranchMovedError, "somebody else"),
        (
            "VS403654: The push was rejected because it might contain credentials or other"
            " secrets.\n\n/key.pem(1,1-27) : error : CSCAN0060\n",
            TurnedDownError,
            r"contain credentials or other secrets\.$",
        ),
        (
            "error VS403654: The push was rejected because it contains one or more secrets.",
            TurnedDownError,
            r"one or more secrets\.$",
        ),
        ("hook declined", TurnedDownError, "refuses the push: hook declined"),
        ("unpacker error", TurnedDownError, "refuses the push: unpacker error"),
    ],
)
def test_a_push_is_refused(why: str, error: type[FactoryError], words: str) -> None:
    with pytest.raises(error, match=words):
        raise refused_push("dev.azure.com/acme", why)


@pytest.mark.parametrize(
    ("complaint", "error", "words"),
    [
        (
            "remote: TF401027: You need the Git 'GenericContribute' permission to perform this"
            " action.\nfatal: unable to access: The requested URL returned error: 403",
            TurnedDownError,
            "the permission GenericContribute",
        ),
        (f"fatal: Authentication failed for '{URL}/'", HostRejectedError, "not accept the token"),
        (
            f"fatal: could not read Username for '{URL}': terminal prompts disabled",
            HostRejectedError,
            "not accept the token",
        ),
        (
            f"fatal: {URL}/info/refs not valid: is this a git repository?",
            HostRejectedError,
            "not accept the token",
        ),
        (
            "remote: TF401019: The Git repository with name or identifier x does not exist\n"
            f"fatal: repository '{URL}/' not found",
            MissingError,
            "no such repository",
        ),
        (
            "error: RPC failed; curl 56 Recv failure: Connection reset by peer\n"
            "fatal: the remote end hung up unexpectedly",
            HostBusyError,
            "does not answer git",
        ),
        (
            "remote: TF400733: The request has been canceled\n"
            "fatal: unable to access: The requested URL returned error: 429",
            HostBusyError,
            "does not answer git",
        ),
        (
            "error: RPC failed; HTTP 503 curl 22 The requested URL returned error: 503",
            HostBusyError,
            "does not answer git",
        ),
    ],
)
def test_a_complaint_means(complaint: str, error: type[FactoryError], words: str) -> None:
    meant = meaning_of("dev.azure.com/acme", complaint)
    assert meant is not None
    with pytest.raises(error, match=words):
        raise meant


@pytest.mark.parametrize("complaint", ["fatal: bad object 1234", "error: No space left on device"])
def test_a_complaint_about_the_copy_is_none_of_the_host_s(complaint: str) -> None:
    assert meaning_of("dev.azure.com/acme", complaint) is None

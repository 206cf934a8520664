"""What went wrong with a place, as one error that says what to look at, and never a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from factory_runtime.domain.errors import FactoryError, MemoryUnavailableError
from factory_runtime.memory.container import Container
from factory_runtime.memory.lance.place import Place

_MADE_ANEW = "it is made from the run store, and made anew by `factory memory rebuild`"

# LanceDB shows Azure's answer as it came; Azure's own library shows its code.
_CODE = re.compile(r"(?:<Code>|ErrorCode:)(\w+)")
_REFUSALS = re.compile(r"(No|Invalid)?Auth|AccountIsDisabled|InsufficientAccountPermissions")
_SILENCE = re.compile(
    r"kind: (Connect|Timeout)|Failed to (establish|resolve)|[Tt]imed out|Connection (aborted|refused)"
)
_SECRETS = ("account_key", "azure_storage_sas_key")
_SIGNATURE = re.compile(r"(sig=)[^&\s\"']+")


def check_place(place: Place) -> None:
    """Return where it can be used; a folder or a container that is not there is made.

    Of a container it is asked what is in it, and nothing is written.

    Raises:
        MemoryUnavailableError: it cannot.
    """
    try:
        place.ground.check()
    except FactoryError:
        raise
    # The storage's library raises its own, and those of what it stands on.
    except Exception as exc:
        raise unavailable(place, exc) from exc


def unavailable(place: Place, error: Exception) -> MemoryUnavailableError:
    """What to raise instead of it."""
    container = place.ground
    if isinstance(container, Container) and (told := _of_azure(place, container, str(error))):
        return told
    return MemoryUnavailableError(
        f"the memory in {place.uri} cannot be used: {_hidden(str(error), place.options)}",
        hint=_MADE_ANEW,
    )


def _of_azure(place: Place, container: Container, said: str) -> MemoryUnavailableError | None:
    """None where it is not the storage that is at fault."""
    found = _CODE.search(said)
    code = found[1] if found else ""
    if _REFUSALS.match(code):
        return MemoryUnavailableError(
            f"the storage of the memory in {place.uri} refuses us: {code}",
            hint=_what_is_shown(place.options),
        )
    if code.startswith("Container"):
        container.forget_what_was_seen()
        return MemoryUnavailableError(
            f"there is no container for the memory in {place.uri}: {code}",
            hint="it is made with what is written next; `factory memory rebuild` has all of it",
        )
    if not code and _SILENCE.search(said):
        return MemoryUnavailableError(
            f"the storage of the memory in {place.uri} does not answer at {_host(place.options)}",
            hint="look at FACTORY_MEMORY_ACCOUNT and FACTORY_MEMORY_ENDPOINT, or wait",
        )
    return None


def _what_is_shown(options: Mapping[str, str]) -> str:
    if "account_key" in options:
        return "look at FACTORY_MEMORY_ACCOUNT_KEY and FACTORY_MEMORY_ACCOUNT"
    if "azure_storage_sas_key" in options:
        return "look at FACTORY_MEMORY_SAS_TOKEN: until when it counts, and for what"
    return "give this machine's identity the role Storage Blob Data Contributor"


def _host(options: Mapping[str, str]) -> str:
    endpoint = options.get("azure_storage_endpoint")
    if endpoint:
        return urlsplit(endpoint).netloc
    return f"{options.get('account_name')}.blob.core.windows.net"


def _hidden(said: str, options: Mapping[str, str]) -> str:
    for secret in filter(None, map(options.get, _SECRETS)):
        for form in (secret, quote(secret, safe=""), unquote(secret)):
            said = said.replace(form, "…")
    return _SIGNATURE.sub(r"\1…", said)

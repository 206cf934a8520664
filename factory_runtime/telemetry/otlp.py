"""What traces, logs and metrics have in common on their way out, by OTLP over HTTP.

They go where OpenTelemetry's own variables say
(https://opentelemetry.io/docs/specs/otel/protocol/exporter/), and nowhere without them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

Signal = Literal["traces", "logs", "metrics"]
T = TypeVar("T")

_LAST_SECONDS = 2.0
"""How long a process that ends may take to send what it has: an endpoint may be away."""


def is_wanted(signal: Signal) -> bool:
    """Whether the environment names an endpoint for it."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return not off and any(os.environ.get(name) for name in names)


def opened(signal: Signal, make: Callable[[], T]) -> T | None:
    """What ``make`` gives; None, and a line that says so, where it cannot be had."""
    log = logging.getLogger(f"factory.{signal}")
    # It logs headers that it cannot read as they are, with the token in them.
    logging.getLogger("opentelemetry.util.re").disabled = True
    # It would say each time what is said once here, and where it sends to.
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
    try:
        return make()
    except ImportError:
        log.warning("no %s: the extra factory-runtime[tracing] is not installed", signal)
    except Exception as error:
        # Of what it says, nothing: it may show a header, and with it a token.
        kind = type(error).__name__
        message = "no %s: OpenTelemetry cannot be set up by its variables (%s)"
        log.warning(message, signal, kind)
    return None


def resource() -> Resource:
    """Who sends: our name, unless the variables have another."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    named = Resource({"service.name": "factory-runtime"})
    return Resource.create().merge(named).merge(OTELResourceDetector().detect())


def end_soon(shutdown: Callable[[], object]) -> None:
    """Send what is left, and stop, in a bounded time."""
    closing = threading.Thread(target=shutdown, daemon=True)
    closing.start()
    closing.join(_LAST_SECONDS)


class Losses:
    """Says once that what is sent is not taken, until it is again."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._log = logging.getLogger(f"factory.{signal}")
        self._is_away = False

    def note(self, *, taken: bool) -> None:
        """Whether the endpoint took what it was sent last."""
        if not taken and not self._is_away:
            self._log.warning("%s are lost: the OTLP endpoint does not take them", self._signal)
        self._is_away = not taken

"""The Factory API of `factory up`: ``python -m deployments.stack_api PORT``, a child of the executor.

It has the lifeline on standard input, and writes its process id down once it listens.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from contextlib import suppress

from api.serve import Place, serve
from deployments.kept import ready_file
from deployments.lifeline import on_parent_gone
from factory_runtime.settings import Settings
from factory_runtime.telemetry.logs import start_logging


def main() -> None:
    """Serve on the loopback until told to stop, or until the stack is gone."""
    settings, port = Settings(), int(sys.argv[1])
    start_logging(settings.log_format, settings.log_level)
    faulthandler.register(signal.SIGUSR1)  # what every thread does, into the log
    on_parent_gone(lambda: os._exit(1))

    def tell() -> None:
        with suppress(OSError):  # a full disk: it serves, and is not said to be ready
            ready_file(settings, "api").write_text(str(os.getpid()))

    serve(settings, Place("127.0.0.1", port), tell)


if __name__ == "__main__":
    main()

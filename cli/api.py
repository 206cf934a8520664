"""`factory api`: serve the Factory API alone, with no stack beside it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.door import open_stores

Host = Annotated[str | None, typer.Option(help="Where to listen; FACTORY_API_HOST by default.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="FACTORY_API_PORT by default; 0 takes any.")
]
Processes = Annotated[
    int | None, typer.Option(min=1, max=64, help="FACTORY_API_PROCESSES by default.")
]


def api(host: Host = None, port: Port = None, processes: Processes = None) -> None:
    """Serve the Factory API until Ctrl-C: requests, reads, webhooks. `factory up` keeps one too."""
    from api.loopback import check_bind
    from api.serve import Place, serve
    from factory_runtime.telemetry.logs import start_logging

    door = open_stores()
    settings = door.settings
    place = Place(
        settings.api_host if host is None else host,
        settings.api_port if port is None else port,
        processes or max(1, settings.api_processes),
    )
    check_bind(settings, door.runtime.store, door.runtime.clock, place.host)
    start_logging(settings.log_format, settings.log_level)
    serve(settings, place)

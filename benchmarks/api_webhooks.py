"""Webhooks answered: signed as GitHub signs them, each of another repository, and a run begun by it.

An answer means that the delivery and its run are committed on PostgreSQL.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os

from benchmarks.api_site import ApiSite, api_site
from benchmarks.http_load import Load, load, request
from benchmarks.ratio import Ratio
from tests.services import running_postgres

SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CONNECTIONS = 1
"""What a service hook of one organisation is: one delivery after the other."""
TARGET_MILLISECONDS = 50.0


def main() -> tuple[Ratio, ...]:
    """Print how long answers take."""
    with running_postgres(durable=True) as postgres, api_site(postgres) as site:
        words = ("webhooks", "add", "new-service", "--kind", "github", "--project", "shop")
        source = site.factory(*words)
        _delivered(site, source, 2.0)
        found = _delivered(site, source, SECONDS)
    print(f"POST /webhooks/{{source}}         {found}")
    ratio = Ratio("p99 of a webhook answered, ms", found.quantile(0.99) * 1e3, TARGET_MILLISECONDS)
    print(ratio)
    return (ratio,)


def _delivered(site: ApiSite, source: dict[str, object], seconds: float) -> Load:
    url, secret = site.at(f"/webhooks/{source['id']}"), str(source["secret"]).encode()

    def deliver(number: int) -> bytes:
        event = {"action": "created", "repository": {"name": f"orders-{int(seconds)}-{number}"}}
        body = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "repository",
            "X-GitHub-Delivery": f"{seconds}-{number}",
            "X-Hub-Signature-256": f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}",
        }
        return request("POST", url, headers, body)

    return load(site.url, deliver, 202, seconds=seconds, connections=CONNECTIONS)


if __name__ == "__main__":
    main()

"""``microservice`` made in Azure DevOps, beside the local host and a shell script, in turns.

Azure DevOps is the forge of the tests, by https on the loopback. Each round makes a service of a
name of its own, as the next service of a tenant: its layers come from the cache. The script makes
the same repository from the commits of the run at the local host, with ``curl`` and ``git``, one call
after the other; it renders nothing, and records nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.ratio import Ratio
from blocks import GitHostCredentials
from deployments.stack import start_stack, wait_for_stack
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings
from tests.forge.control import ForgeElsewhere, forge_elsewhere

ROUNDS = 9
TARGET = 1.5
_LONGEST = 120.0
_POLL = 0.02
_PROJECT = "shop"

_SCRIPT = r"""
set -eu
api() { curl --silent --show-error --cacert "$AUTHORITY" --user ":$TOKEN" \
    --header 'Content-Type: application/json' "$@" > "$ANSWER"; }
hub() { git -c "http.extraHeader=Authorization: Basic $BASIC" "$@"; }
repositories="$URL/$PROJECT/_apis/git/repositories"
version='api-version=7.1'
api "$repositories/$NAME?$version"
api "$URL/_apis/projects/$PROJECT?$version"
project=$(sed 's/.*"id": *"\([^"]*\)".*/\1/' "$ANSWER")
api "$repositories?$version" --data "{\"name\": \"begun-$NAME\", \"project\": {\"id\": \"$project\"}}"
id=$(sed 's/^{"id": *"\([^"]*\)".*/\1/' "$ANSWER")
api "$repositories/$id/refs?$version&filter=heads/"
cd "$MADE"
commits=$(git rev-list --reverse main)
git tag --force --annotate --message made origin "${commits%%$'\n'*}"
hub push --quiet "$URL/$PROJECT/_git/$id" origin
api --request PATCH "$repositories/$id?$version" --data "{\"name\": \"$NAME\"}"
for commit in $commits; do
    api "$repositories/$NAME?$version"
    hub fetch --quiet "$URL/$PROJECT/_git/$id" '+refs/heads/*:refs/remotes/origin/*'
    hub push --quiet "$URL/$PROJECT/_git/$id" "$commit:refs/heads/main"
done
"""


@dataclass(frozen=True)
class _Site:
    runtime: Runtime
    forge: ForgeElsewhere
    token: str


def main() -> tuple[Ratio, ...]:
    """Print the seconds of each."""
    times: dict[str, list[float]] = {"azure": [], "local": [], "script": []}
    with (
        tempfile.TemporaryDirectory(prefix="factory-bench-") as folder,
        _site(Path(folder)) as site,
    ):
        for number in range(-1, ROUNDS):  # the first one warms up
            name = f"service-{'abcdefghijk'[number]}"
            found = {
                "azure": _run(site.runtime, "azure", name),
                "local": _run(site.runtime, "local", name),
                "script": _script(site, name, Path(folder)),
            }
            for side, seconds in found.items():
                times[side] += [seconds] if number >= 0 else []
    medians = {side: statistics.median(found) for side, found in times.items()}
    print(f"microservice, {ROUNDS} rounds, median seconds")
    for side, seconds in medians.items():
        print(f"  {side:<8}{seconds:6.2f}   {min(times[side]):.2f} to {max(times[side]):.2f}")
    ratios = (
        Ratio("azure devops / local host", medians["azure"] / medians["local"], TARGET),
        Ratio("azure devops / shell script", medians["azure"] / medians["script"], 1.0),
    )
    for ratio in ratios:
        print(ratio)
    return ratios


@contextmanager
def _site(folder: Path) -> Generator[_Site]:
    policies = folder / "policies"
    policies.mkdir()
    (policies / "azure.yaml").write_text("git_host: block:forge\n")
    with forge_elsewhere(folder / "forge", "--tls") as forge:
        forge.call("add_project", _PROJECT)
        token = str(forge.call("add_token"))
        os.environ["SSL_CERT_FILE"] = str(forge.authority)
        settings = Settings(home=folder / "home", policy_folder=policies)
        child = start_stack(settings, keep=False)
        try:
            api_url = wait_for_stack(settings, child, lambda _phase: None).api_url
            given = {"kind": "azure-devops", "url": forge.url, "token": token, "tenants": ["azure"]}
            with temporary_settings({PREFECT_API_URL: api_url}):
                GitHostCredentials.model_validate(given).save("forge")
            yield _Site(open_runtime(settings), forge, token)
        finally:
            assert child.stdin is not None
            child.stdin.close()
            child.wait()


def _run(runtime: Runtime, tenant_id: str, name: str) -> float:
    """Seconds from the request to the end."""
    inputs = {"service_name": name, "entities": ["order"]}
    run = request_run(
        runtime.desk, RunRequest(tenant_id, _PROJECT, "microservice", inputs, "bench")
    )
    until = time.monotonic() + _LONGEST
    ended = run
    while not ended.ended and time.monotonic() < until:
        time.sleep(_POLL)
        ended = _look(runtime, run)
    if ended.status is not RunStatus.SUCCEEDED or ended.completed_at is None:
        sys.exit(f"{ended.id} is {ended.status}: {ended.error}")
    return (ended.completed_at - ended.requested_at).total_seconds()


def _look(runtime: Runtime, run: Run) -> Run:
    with runtime.store.begin(run.tenant_id, read_only=True) as tx:
        return tx.get_run(run.id)


def _script(site: _Site, name: str, folder: Path) -> float:
    made = site.runtime.settings.git_folder / "local" / _PROJECT / f"{name}.git"
    environment = {
        **os.environ,
        "AUTHORITY": str(site.forge.authority),
        "TOKEN": site.token,
        "BASIC": b64encode(f":{site.token}".encode()).decode(),
        "URL": site.forge.url,
        "PROJECT": _PROJECT,
        "NAME": f"by-hand-{name}",
        "MADE": str(made),
        "ANSWER": str(folder / "answer.json"),
        "GIT_SSL_CAINFO": str(site.forge.authority),
        "GIT_COMMITTER_NAME": "bench",
        "GIT_COMMITTER_EMAIL": "bench@localhost",
    }
    started = time.perf_counter()
    subprocess.run(["bash", "-c", _SCRIPT], env=environment, cwd=folder, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

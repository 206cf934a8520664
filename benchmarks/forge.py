"""``microservice`` made in Azure DevOps, beside the local host and a shell script, in turns.

Azure DevOps is the forge of the tests, by https on the loopback. Each round makes a service of a
name of its own, as the next service of a tenant: its layers come from the cache. Nothing is
delivered: how long a build takes is its agent's affair.

A shell script makes the same repository from the commits of the run at the local host, by the calls
that our host makes, with ``curl`` and ``git push``, one after the other. It renders nothing, and records
nothing, so it is set against our host without a run; then ``SERVICES`` of them are made, by the
script one after the other, by our host at once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.ratio import Ratio
from blocks import GitHostCredentials
from deployments.stack import start_stack, wait_for_stack
from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.domain.secrets import Secrets
from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.azure_devops import open_azure_devops
from factory_runtime.ports import CommitOrder, GitHost
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings
from tests.forge.control import ForgeElsewhere, forge_elsewhere

ROUNDS = 9
SERVICES = 3
_MANY = range(SERVICES)
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
api "$repositories/begun-$NAME?$version"
api "$repositories?$version" --data "{\"name\": \"begun-$NAME\"}"
id=$(sed 's/^{"id": *"\([^"]*\)".*/\1/' "$ANSWER")
cd "$MADE"
commits=$(git rev-list --reverse main)
git tag --force --annotate --message made origin "${commits%%$'\n'*}" > /dev/null
hub push --quiet "$URL/$PROJECT/_git/$id" origin
api --request PATCH "$repositories/$id?$version" --data "{\"name\": \"$NAME\"}"
api "$repositories/$id/annotatedtags/$(git rev-parse origin)?$version"
for commit in $commits; do
    api "$repositories/$NAME?$version"
    api "$repositories/$id/refs?$version&filter=tags/factory/origin"
    api "$repositories/$id/pullrequests?$version&searchCriteria.status=all&searchCriteria.sourceRefName=refs/heads/factory/run"
    hub push --quiet "$URL/$PROJECT/_git/$id" "$commit:refs/heads/main"
done
"""


@dataclass(frozen=True)
class _Site:
    runtime: Runtime
    forge: ForgeElsewhere
    token: str
    host: GitHost


def main() -> tuple[Ratio, ...]:
    """Print the seconds of each."""
    times: dict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="factory-bench-") as folder,
        _site(Path(folder)) as site,
    ):
        for number in range(-1, ROUNDS):  # the first one warms up
            name = f"service-{'abcdefghijk'[number]}"
            found = {
                "run at azure devops": _run(site.runtime, "azure", name),
                "run at the local host": _run(site.runtime, "local", name),
                **_calls(site, name, Path(folder)),
            }
            for side, seconds in found.items():
                times[side] += [seconds] if number >= 0 else []
    medians = {side: statistics.median(found) for side, found in times.items()}
    print(f"microservice, {ROUNDS} rounds, median seconds")
    for side, seconds in medians.items():
        print(f"  {side:<24}{seconds:6.2f}   {min(times[side]):.2f} to {max(times[side]):.2f}")
    azure, local, ours, script, all_ours, all_script = medians.values()
    ratios = (
        Ratio("a run at azure devops / at the local host", azure / local, TARGET),
        Ratio("the same calls / shell script", ours / script, 1.0),
        Ratio(f"those of {SERVICES} services / shell script", all_ours / all_script, 1.0),
        Ratio("a run, with all it renders / shell script", azure / script),
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
            host = open_azure_devops(given, folder / "mirrors", Secrets())
            yield _Site(open_runtime(settings), forge, token, host)
        finally:
            assert child.stdin is not None
            child.stdin.close()
            child.wait()


def _run(runtime: Runtime, tenant_id: str, name: str) -> float:
    """Seconds from the request to the end."""
    inputs = {"service_name": name, "entities": ["order"], "deliver": False}
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


def _calls(site: _Site, name: str, folder: Path) -> dict[str, float]:
    """Seconds of one service's calls by our host and by the script, and of several services'."""
    made = site.runtime.settings.git_folder / "local" / _PROJECT / f"{name}.git"
    commits = _commits_of(made)

    def by_host(number: int) -> None:
        _by_host(site.host, f"by-host-{number}-{name}", commits)

    def by_script(number: int) -> None:
        _by_script(site, made, f"by-hand-{number}-{name}", folder)

    with ThreadPoolExecutor(SERVICES) as pool:
        return {
            "calls of our host": _seconds(lambda: by_host(0)),
            "… of the script": _seconds(lambda: by_script(0)),
            f"{SERVICES} services by our host": _seconds(
                lambda: [done.result() for done in [pool.submit(by_host, n + 1) for n in _MANY]]
            ),
            "… by the script": _seconds(lambda: [by_script(n + 1) for n in _MANY]),
        }


def _seconds(make: Callable[[], object]) -> float:
    started = time.perf_counter()
    make()
    return time.perf_counter() - started


def _commits_of(made: Path) -> list[list[TreeFile]]:
    """The files of each commit, in their order."""

    def said(*arguments: str) -> bytes:
        command = ["git", f"--git-dir={made}", *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    commits: list[list[TreeFile]] = []
    for sha in said("rev-list", "--reverse", "main").decode().split():
        changed = said("diff-tree", "-r", "-z", "--root", "--no-commit-id", "--raw", sha)
        parts = changed.decode().rstrip("\0").split("\0")
        commits.append(
            [
                TreeFile(path, said("cat-file", "blob", facts.split()[3]), "100755" in facts)
                for facts, path in zip(parts[::2], parts[1::2], strict=True)
            ]
        )
    return commits


def _by_host(host: GitHost, name: str, commits: list[list[TreeFile]]) -> None:
    host.ensure_repository("azure", _PROJECT, name, effect_key=name, description="")
    for number, files in enumerate(commits):
        order = CommitOrder(
            project_id=_PROJECT,
            repository=name,
            message="Generate files",
            trailers=(("Factory-Run", f"run-{name}"), ("Factory-Step", f"{number}")),
            author="bench",
            at=datetime.now(UTC),
            follows=frozenset(f"{earlier}" for earlier in range(number)),
        )
        assert host.ensure_commit("azure", order, files).created


def _by_script(site: _Site, made: Path, name: str, folder: Path) -> None:
    environment = {
        **os.environ,
        "AUTHORITY": str(site.forge.authority),
        "TOKEN": site.token,
        "BASIC": b64encode(f":{site.token}".encode()).decode(),
        "URL": site.forge.url,
        "PROJECT": _PROJECT,
        "NAME": name,
        "MADE": str(made),
        "ANSWER": str(folder / "answer.json"),
        "GIT_SSL_CAINFO": str(site.forge.authority),
        "GIT_COMMITTER_NAME": "bench",
        "GIT_COMMITTER_EMAIL": "bench@localhost",
    }
    subprocess.run(["bash", "-c", _SCRIPT], env=environment, cwd=folder, check=True)


if __name__ == "__main__":
    main()

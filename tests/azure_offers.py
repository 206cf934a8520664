"""Azure DevOps' offer to tests, over the fake forge."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from factory_runtime.hosts.azure_devops.access import AzureDevOps, personal_token
from factory_runtime.hosts.azure_devops.client import AzureDevOpsClient, route
from factory_runtime.hosts.azure_devops.delivery import AzureDevOpsDelivery
from factory_runtime.ports import BuildResult
from tests.forge import Forge
from tests.forge.builds import end
from tests.forge.pull_requests import merge
from tests.forge.world import Json

YAML = """
parameters: [{name: speed, type: string, default: low}]
steps: [{script: make}]
"""
_CREATES = {
    "pipeline": "pipelines.create",
    "build": "runs.create",
    "pull-request": "pull-requests.create",
    "work-item": "work-items.create",
    "hook": "hooks.create",
}
_RESULTS = {
    BuildResult.SUCCEEDED: "succeeded",
    BuildResult.PARTIAL: "partiallySucceeded",
    BuildResult.FAILED: "failed",
    BuildResult.CANCELLED: "canceled",
}


class _Made(BaseModel):
    id: int = 0


class AzureOffered:
    """Implements ``Offered``: ours is ada's token, and by hand is bob's.

    A build counts as forgotten at once where it has no mark.
    """

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self._token = forge.add_token()
        forge.add_repository("shop", "orders")
        self._commit("main", {"azure-pipelines.yml": YAML})
        self._commit("topic", {"azure-pipelines.yml": YAML, "more": "more\n"})
        self.delivery = AzureDevOpsDelivery(self._client(self._token), timedelta(0))

    def lose_next_answer(self, what: str) -> None:
        self.forge.cut(_CREATES[what], "after")

    def queue_by_hand(self, pipeline_id: str) -> str:
        path = route("shop", "pipelines", pipeline_id, "runs")
        return str(self._bob().post(_Made, path, {}).id)

    def finish(self, build_id: str, result: BuildResult, log: str = "") -> None:
        end(self.forge.world, int(build_id), _RESULTS[result], log)

    def merge(self, pull_request_id: str) -> None:
        world = self.forge.world
        merge(world, world.pull_requests[int(pull_request_id)], world.tokens[self._token], "squash")

    def open_by_hand(self, branch: str) -> None:
        path = route("shop", "git", "repositories", "orders", "pullrequests")
        refs = {"sourceRefName": f"refs/heads/{branch}", "targetRefName": "refs/heads/main"}
        self._bob().post(_Made, path, {**refs, "title": "Mine"})

    def builds(self) -> list[str]:
        return list(map(str, self.forge.world.builds))

    def pipelines(self) -> list[str]:
        return list(map(str, self.forge.world.definitions))

    def work_items(self) -> list[str]:
        return list(map(str, self.forge.world.work_items))

    def links_of(self, work_item_id: str) -> int:
        return len(self.work_item(work_item_id)["relations"])

    def work_item(self, work_item_id: str) -> Json:
        return self.forge.world.work_items[int(work_item_id)]

    def pull_requests(self) -> list[str]:
        return list(map(str, self.forge.world.pull_requests))

    def hooks(self) -> list[str]:
        return list(self.forge.world.hooks)

    def delivery_of(self, token: str) -> AzureDevOpsDelivery:
        return AzureDevOpsDelivery(self._client(token), timedelta(0))

    def patient_delivery(self, settling: timedelta) -> AzureDevOpsDelivery:
        return AzureDevOpsDelivery(self._client(self._token), settling)

    def _bob(self) -> AzureDevOpsClient:
        return self._client(self.forge.add_token(user="bob@example.com"))

    def _client(self, token: str) -> AzureDevOpsClient:
        return AzureDevOpsClient(AzureDevOps(self.forge.url, personal_token(token)))

    def _commit(self, branch: str, files: dict[str, str]) -> None:
        git = self.forge.repository("shop", "orders").git
        blobs = {
            name: git("hash-object", "-w", "--stdin", given=text) for name, text in files.items()
        }
        lines = "".join(f"100644 blob {blob}\t{name}\n" for name, blob in sorted(blobs.items()))
        main = git("rev-parse", "--verify", "--quiet", "refs/heads/main", fails=True)
        parents = ("-p", main) if main else ()
        commit = git("commit-tree", git("mktree", given=lines), *parents, "-m", branch)
        git("update-ref", f"refs/heads/{branch}", commit)

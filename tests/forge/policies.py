"""The policies of branches.

Published as ``policy/7.1/policy.json`` and ``git/7.1/git.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs.
"""

from __future__ import annotations

from tests.forge.route import Needs, Route
from tests.forge.speech import Answer, Asked
from tests.forge.world import Json, World


def _list(world: World, asked: Asked) -> Answer:
    project = world.project(asked.parts["organization"], asked.parts["project"])
    query = asked.query
    told: list[Json] = []
    for one in world.protections:
        branch = f"refs/heads/{one.branch.removeprefix('refs/heads/')}"
        # One without a repository is of all of them.
        if (
            one.project == project.id
            and one.repository in (None, query.get("repositoryId", one.repository))
            and query.get("refName") in (None, branch)
            and query.get("policyType") in (None, one.kind)
        ):
            scope = {"repositoryId": one.repository, "refName": branch, "matchKind": "exact"}
            told.append(
                {
                    "id": one.id,
                    "type": {
                        "id": one.kind,
                        "url": world.api(project, f"policy/types/{one.kind}"),
                        "displayName": "Minimum number of reviewers",
                    },
                    "url": world.api(project, f"policy/configurations/{one.id}"),
                    "revision": 1,
                    "isEnabled": True,
                    "isBlocking": True,
                    "isDeleted": False,
                    "isEnterpriseManaged": False,
                    "createdDate": "2026-01-05T10:00:00Z",
                    "createdBy": world.identity(asked.token),
                    "settings": {"minimumApproverCount": 1, "scope": [scope]},
                }
            )
    return Answer(told)


_ALL = "/{project}/_apis/policy/configurations"
_OF_BRANCH = "/{project}/_apis/git/policy/configurations"
_READ = Needs("GenericRead", "vso.code")
_SHAPE = "PolicyConfiguration[]"

ROUTES = (
    Route("policies.list", "GET", _ALL, _list, _READ, _SHAPE, None, ("scope", "policyType")),
    Route(
        *("policies.of-branch", "GET", _OF_BRANCH, _list, _READ),
        *(_SHAPE, None, ("repositoryId", "refName", "policyType")),
    ),
)

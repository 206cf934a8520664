"""Pull requests, their labels and work items.

Published as ``git/7.1/git.json`` in https://github.com/MicrosoftDocs/vsts-rest-api-specs; its
``httpExamples/pullRequests/POST__git_repositories__repositoryId__pullRequests.json`` shows one.
Errors as in https://github.com/shayki5/azure-devops-create-pr-task/issues/31 (TF401179) and
https://github.com/shayki5/azure-devops-create-pr-task/issues/120 (TF401398).
"""

from __future__ import annotations

from uuid import uuid4

from tests.forge.repositories import repository, told_repository
from tests.forge.route import Needs, Route, both
from tests.forge.speech import Answer, Asked, RefusedError, Token
from tests.forge.work_items import link, linked_with
from tests.forge.world import Json, Repo, World, now

LISTED_DESCRIPTION = 400
"""Characters that a list says of a description; one that is asked for by itself says all."""
_LONGEST_DESCRIPTION = 4000


def _invalid(what: str) -> RefusedError:
    return RefusedError(400, "InvalidArgumentValueException", f"Invalid argument value.\n{what}")


def _create(world: World, asked: Asked) -> Answer:
    repo, body = repository(world, asked), asked.body
    source, target = body["sourceRefName"], body["targetRefName"]
    _check_description(body.get("description", ""))
    branches = repo.refs("refs/heads/")
    if source not in branches or target not in branches:
        message = (
            "TF401398: The pull request cannot be activated because the source and/or the target "
            "branch no longer exists, or the requested refs are not branches"
        )
        raise RefusedError(404, "GitPullRequestStaleException", message)
    if any(
        one["repository"] == repo.id
        and one["status"] == "active"
        and (one["sourceRefName"], one["targetRefName"]) == (source, target)
        for one in world.pull_requests.values()
    ):
        message = (
            "TF401179: An active pull request for the source and target branch already exists."
        )
        raise RefusedError(409, "GitPullRequestExistsException", message)
    made: Json = {
        "repository": repo.id,
        "pullRequestId": next(world.ids),
        "status": "active",
        "createdBy": world.identity(asked.token),
        "creationDate": now(),
        "title": body["title"],
        "description": body.get("description", ""),
        "sourceRefName": source,
        "targetRefName": target,
        "isDraft": body.get("isDraft", False),
        "labels": [_label(one["name"]) for one in body.get("labels", [])],
        "commits": {"source": branches[source], "target": branches[target]},
    }
    world.pull_requests[made["pullRequestId"]] = made
    for one in body.get("workItemRefs", []):
        # It then stands in the work item, as if somebody had linked it there.
        link(world, one["id"], _artifact(repo, made), "Pull Request")
    return Answer(_told(world, repo, made), 201)


def _check_description(said: str) -> None:
    if len(said) > _LONGEST_DESCRIPTION:
        raise _invalid(f"A description must not be longer than {_LONGEST_DESCRIPTION} characters.")


def _label(name: str) -> Json:
    return {"id": str(uuid4()), "name": name, "active": True}


def _artifact(repo: Repo, one: Json) -> str:
    return f"vstfs:///Git/PullRequestId/{repo.project.id}%2f{repo.id}%2f{one['pullRequestId']}"


def _told(world: World, repo: Repo, one: Json, *, listed: bool = False) -> Json:
    url = world.api(repo.project, f"git/repositories/{repo.id}")
    if one["status"] == "active":
        branches = repo.refs("refs/heads/")
        one["commits"] |= {
            "source": branches.get(one["sourceRefName"], one["commits"]["source"]),
            "target": branches.get(one["targetRefName"], one["commits"]["target"]),
        }
    cut = LISTED_DESCRIPTION if listed else None
    left_out = {"repository", "commits", "labels", "description"}
    told = {key: value for key, value in one.items() if key not in left_out}
    told |= {
        "repository": told_repository(world, repo),
        "codeReviewId": one["pullRequestId"],
        "description": one["description"][:cut],
        "mergeStatus": "succeeded",
        "reviewers": [],
        "supportsIterations": True,
        "url": f"{url}/pullRequests/{one['pullRequestId']}",
    }
    for name, key in (("Source", "source"), ("Target", "target"), ("", "merged")):
        if sha := one["commits"].get(key):
            told[f"lastMerge{name}Commit"] = {"commitId": sha, "url": f"{url}/commits/{sha}"}
    if one["labels"]:
        told["labels"] = one["labels"]
    if not listed:
        told["artifactId"] = _artifact(repo, one)
    return told


def _list(world: World, asked: Asked) -> Answer:
    """Of a repository or of a project. Those that are active, where nothing else is asked for."""
    named = "repositoryId" in asked.parts
    repo = repository(world, asked) if named else None
    project = world.project(asked.parts["organization"], asked.parts["project"])
    search = {key.removeprefix("searchCriteria."): value for key, value in asked.query.items()}
    status = search.get("status", "active")
    found: list[Json] = []
    for one in reversed(world.pull_requests.values()):
        home = world.repositories.get(one["repository"])
        if home is None or home.project != project or repo not in (None, home):
            continue
        wanted = all(
            one[key] == search.get(key, one[key]) for key in ("sourceRefName", "targetRefName")
        )
        if wanted and status in ("all", one["status"]):
            found.append(_told(world, home, one, listed=True))
    start = asked.number("$skip", 0)
    return Answer(found[start : start + asked.number("$top", 101)])


def _find(world: World, asked: Asked) -> tuple[Repo, Json]:
    number = asked.parts["pullRequestId"]
    one = world.pull_requests.get(int(number)) if number.isdecimal() else None
    home = world.repositories.get(one["repository"]) if one else None
    if (
        one is None
        or home is None
        or (asked.parts.get("repositoryId") and repository(world, asked) != home)
    ):
        message = "TF401180: The requested pull request was not found."
        raise RefusedError(404, "GitPullRequestNotFoundException", message)
    return home, one


def _get(world: World, asked: Asked) -> Answer:
    return Answer(_told(world, *_find(world, asked)))


def _update(world: World, asked: Asked) -> Answer:
    repo, one = _find(world, asked)
    body = asked.body
    _check_description(body.get("description", ""))
    one |= {key: body[key] for key in ("title", "description", "isDraft") if key in body}
    status = body.get("status", one["status"])
    if status == "completed" and one["status"] != "completed":
        if "lastMergeSourceCommit" not in body:
            raise _invalid("Parameter name: lastMergeSourceCommit")
        if one["targetRefName"] in world.protected(repo):
            message = "TF401181: The pull request cannot be completed: policies are not satisfied."
            raise RefusedError(409, "GitPullRequestUpdateRejectedByPolicyException", message)
        options = body.get("completionOptions", {})
        merge(world, one, asked.token, options.get("mergeStrategy", "noFastForward"))
        if options.get("deleteSourceBranch"):
            repo.git("update-ref", "-d", one["sourceRefName"])
    elif status == "abandoned" and one["status"] == "active":
        one |= {"status": status, "closedDate": now(), "closedBy": world.identity(asked.token)}
    elif status == "active" and one["status"] == "abandoned":
        del one["closedDate"], one["closedBy"]
        one["status"] = status
    elif status != one["status"]:
        raise _invalid(f"Parameter name: status. It is {one['status']}.")
    return Answer(_told(world, repo, one))


def merge(world: World, one: Json, token: Token, strategy: str) -> None:
    """Complete it as the service does, whatever policies say."""
    if strategy not in ("noFastForward", "squash"):
        raise NotImplementedError(f"merge by {strategy}")
    repo, target = world.repositories[one["repository"]], one["targetRefName"]
    heads = repo.refs("refs/heads/")
    source, onto = heads[one["sourceRefName"]], heads[target]
    tree = repo.git("merge-tree", "--write-tree", onto, source).splitlines()[0]
    parents = ("-p", onto) if strategy == "squash" else ("-p", onto, "-p", source)
    said = f"Merged PR {one['pullRequestId']}: {one['title']}\n\n{one['description']}"
    merged = repo.git("commit-tree", tree, *parents, "-F", "-", given=said)
    repo.git("update-ref", target, merged, onto)
    one["commits"] |= {"source": source, "target": onto, "merged": merged}
    one |= {"status": "completed", "closedDate": now(), "closedBy": world.identity(token)}


def _list_labels(world: World, asked: Asked) -> Answer:
    return Answer(_find(world, asked)[1]["labels"])


def _add_label(world: World, asked: Asked) -> Answer:
    labels, name = _find(world, asked)[1]["labels"], asked.body["name"]
    for one in labels:
        if one["name"].casefold() == name.casefold():
            return Answer(one)
    labels.append(_label(name))
    return Answer(labels[-1])


def _list_work_items(world: World, asked: Asked) -> Answer:
    repo, one = _find(world, asked)
    url = f"{world.url}/{repo.project.organization}/_apis/wit/workItems"
    linked = linked_with(world, _artifact(repo, one))
    return Answer([{"id": str(number), "url": f"{url}/{number}"} for number in linked])


_ALL = "/{project}/_apis/git/repositories/{repositoryId}/pullrequests"
_ONE = f"{_ALL}/{{pullRequestId}}"
_READ = Needs("GenericRead", "vso.code")
_WRITE = Needs("PullRequestContribute", "vso.code_write")
_SEARCH = (
    *(f"searchCriteria.{one}" for one in ("status", "sourceRefName", "targetRefName")),
    *("$top", "$skip"),
)
_PULL = "GitPullRequest"

ROUTES = (
    *both(
        Route("pull-requests.create", "POST", _ALL, _create, _WRITE, _PULL, "GitPullRequestOrder")
    ),
    Route("pull-requests.list", "GET", _ALL, _list, _READ, f"{_PULL}[]", None, _SEARCH),
    Route(
        *("pull-requests.list", "GET", "/{project}/_apis/git/pullrequests", _list, _READ),
        *(f"{_PULL}[]", None, _SEARCH),
    ),
    *both(Route("pull-requests.get", "GET", _ONE, _get, _READ, _PULL)),
    *both(
        Route(
            *("pull-requests.get", "GET", "/{project}/_apis/git/pullrequests/{pullRequestId}"),
            *(_get, _READ, _PULL),
        )
    ),
    *both(
        Route("pull-requests.update", "PATCH", _ONE, _update, _WRITE, _PULL, "GitPullRequestChange")
    ),
    Route("labels.list", "GET", f"{_ONE}/labels", _list_labels, _READ, "TagDefinition[]"),
    Route(
        *("labels.create", "POST", f"{_ONE}/labels", _add_label, _WRITE),
        *("TagDefinition", "CreateTagRequest"),
    ),
    Route(
        "pull-requests.work-items",
        "GET",
        f"{_ONE}/workitems",
        _list_work_items,
        _READ,
        "ResourceRef[]",
    ),
)

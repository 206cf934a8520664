"""Builds: queueing, following, cancelling, their tags and logs.

Published as ``build/7.1/build.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs. They take no tags as they are queued:
https://github.com/MicrosoftDocs/vsts-rest-api-specs/issues/83. Variables that nobody declared are refused, as
https://learn.microsoft.com/azure/devops/pipelines/security/inputs has it; so are parameters that
the file does not have. Two that are queued are two builds.
"""

from __future__ import annotations

import json
from typing import Any, cast
from uuid import uuid4

import yaml

from tests.forge.pipelines import project_of, referred
from tests.forge.repositories import told_project
from tests.forge.route import Needs, Route
from tests.forge.speech import Answer, Asked, RefusedError
from tests.forge.world import Json, World, now

_ENDED = ("succeeded", "partiallySucceeded", "failed", "canceled")


def _refused(message: str) -> RefusedError:
    message = f"Could not queue the build because there were validation errors: {message}"
    return RefusedError(400, "BuildRequestValidationFailedException", message)


def queue(
    world: World,
    asked: Asked,
    one: Json,
    branch: str | None,
    version: str | None,
    variables: dict[str, str],
    parameters: dict[str, Any],
) -> Json:
    """A build of a definition, waiting to be started."""
    ref, commit, file = _source(world, one, branch, version)
    _check_inputs(one, file, variables, parameters)
    made: Json = {
        "id": next(world.ids),
        "definition": one["id"],
        "project": one["project"],
        "repository": one["repository"],
        "status": "notStarted",
        "queueTime": now(),
        "sourceBranch": ref,
        "sourceVersion": commit,
        "reason": "manual",
        "by": world.identity(asked.token),
        "variables": variables,
        "templateParameters": {key: str(value) for key, value in parameters.items()},
        "tags": [],
        "plan": str(uuid4()),
    }
    world.builds[made["id"]] = made
    world.logs[made["id"]] = []
    if world.builds_end_at_once:
        end(world, made["id"], world.builds_end_at_once)
    return made


def _source(
    world: World, one: Json, branch: str | None, version: str | None
) -> tuple[str, str, str]:
    """The branch and commit that it builds, and what its file says there."""
    repo = world.repositories.get(one["repository"])
    if repo is None:
        raise _refused("The repository no longer exists.")
    ref = branch or repo.default_branch or "refs/heads/main"
    ref = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
    head = repo.refs().get(ref)
    if head is None:
        raise _refused(f"Could not find the branch {ref} in repository {repo.name}.")
    commit = version or head
    file = repo.git("show", f"{commit}:{one['file']}", fails=True)
    if not file:
        raise _refused(f"/{one['file']}: File /{one['file']} not found in repository {repo.name}.")
    return ref, commit, file


def _check_inputs(
    one: Json, file: str, variables: dict[str, str], parameters: dict[str, Any]
) -> None:
    settable = {name for name, told in one["variables"].items() if told.get("allowOverride")}
    if wrong := sorted(variables.keys() - settable):
        message = (
            f"You can't set the following variables ({', '.join(wrong)}). If you want to be able "
            "to set these variables, then edit the pipeline and select Settable at queue time on "
            "the variables tab of the pipeline editor."
        )
        raise RefusedError(400, "VariableNotSettableException", message)
    told = cast("Json", yaml.safe_load(file) or {})
    for name in parameters.keys() - {each["name"] for each in told.get("parameters", [])}:
        message = f"/{one['file']}: Unexpected parameter '{name}'"
        raise RefusedError(400, "PipelineValidationException", message)


def end(world: World, build: int, result: str, log: str = "") -> None:
    """Have it come to an end, with these lines in one more of its logs."""
    assert result in _ENDED, result
    one = world.builds[build]
    assert one["status"] != "completed", f"build {build} has ended"
    one.setdefault("startTime", now())
    one |= {"status": "completed", "result": result, "finishTime": now()}
    if log:
        world.logs[build].append(log.splitlines())


def told(world: World, one: Json) -> Json:
    project = next(project for project in world.projects if project.id == one["project"])
    repo = world.repositories.get(one["repository"])
    url, number = world.api(project, f"build/Builds/{one['id']}"), number_of(one)
    page = world.page(project, f"_build/results?buildId={one['id']}")
    told = {
        key: one[key]
        for key in ("id", "status", "result", "queueTime", "startTime", "finishTime")
        if key in one
    }
    told |= {
        "_links": {"self": {"href": url}, "web": {"href": page}},
        "buildNumber": number,
        "buildNumberRevision": int(number.split(".")[1]),
        "definition": referred(world, world.definitions[one["definition"]]),
        "project": told_project(world, project),
        "url": url,
        "uri": f"vstfs:///Build/Build/{one['id']}",
        "sourceBranch": one["sourceBranch"],
        "sourceVersion": one["sourceVersion"],
        "priority": "normal",
        "reason": one["reason"],
        "requestedFor": one["by"],
        "requestedBy": one["by"],
        "lastChangedDate": one.get("finishTime", one["queueTime"]),
        "lastChangedBy": one["by"],
        "orchestrationPlan": {"planId": one["plan"]},
        "plans": [{"planId": one["plan"]}],
        "logs": {"id": 0, "type": "Container", "url": f"{url}/logs"},
        "repository": {"id": one["repository"], "type": "TfsGit"},
        "tags": one["tags"],
        "templateParameters": one["templateParameters"],
        "triggerInfo": {},
        "properties": {},
        "validationResults": [],
        "retainedByRelease": False,
        "appendCommitMessageToRunName": True,
    }
    if repo:
        told["repository"] |= {"name": repo.name, "url": world.page(project, f"_git/{repo.name}")}
    if one["variables"]:
        told["parameters"] = json.dumps(one["variables"])
    return told


def number_of(one: Json) -> str:
    return f"{one['queueTime'][:10].replace('-', '')}.{one['id']}"


def _queue_build(world: World, asked: Asked) -> Answer:
    body = asked.body
    number = body["definition"]["id"]
    project, one = project_of(world, asked), world.definitions.get(number)
    if one is None or one["project"] != project.id:
        message = f"Definition {number} was not found."
        raise RefusedError(404, "DefinitionNotFoundException", message)
    variables = json.loads(body.get("parameters") or "{}")
    given = (body.get("sourceBranch"), body.get("sourceVersion"), variables)
    made = queue(world, asked, one, *given, body.get("templateParameters", {}))
    return Answer(told(world, made))


def _list(world: World, asked: Asked) -> Answer:
    project, query = project_of(world, asked), asked.query
    found = [one for one in world.builds.values() if one["project"] == project.id]
    for key, field in (("branchName", "sourceBranch"), ("repositoryId", "repository")):
        found = [one for one in found if query.get(key) in (None, one[field])]
    if ids := query.get("definitions"):
        found = [one for one in found if str(one["definition"]) in ids.split(",")]
    if ids := query.get("buildIds"):
        found = [one for one in found if str(one["id"]) in ids.split(",")]
    if tags := query.get("tagFilters"):
        found = [one for one in found if set(tags.split(",")) <= set(one["tags"])]
    for key in ("status", "result"):
        wanted = query.get(f"{key}Filter", "all").split(",")
        found = [one for one in found if "all" in wanted or one.get(key) in wanted]
    if since := query.get("minTime"):
        found = [one for one in found if one["queueTime"] >= since]
    if query.get("queryOrder", "queueTimeDescending").endswith("Descending"):
        found.reverse()
    ids = [str(one["id"]) for one in found]
    start = ids.index(query["continuationToken"]) if "continuationToken" in query else 0
    last = start + asked.number("$top", 1000)
    headers = {"x-ms-continuationtoken": ids[last]} if last < len(ids) else {}
    return Answer([told(world, one) for one in found[start:last]], headers=headers)


def find(world: World, asked: Asked, key: str = "buildId") -> Json:
    number, project = asked.parts[key], project_of(world, asked)
    one = world.builds.get(int(number)) if number.isdecimal() else None
    if one is None or one["project"] != project.id:
        message = f"The requested build {number} could not be found."
        raise RefusedError(404, "BuildNotFoundException", message)
    return one


def _get(world: World, asked: Asked) -> Answer:
    return Answer(told(world, find(world, asked)))


def _update(world: World, asked: Asked) -> Answer:
    """Cancels it. What has ended stays as it is."""
    one = find(world, asked)
    if one["status"] != "completed":
        end(world, one["id"], "canceled")
    return Answer(told(world, one))


def _list_tags(world: World, asked: Asked) -> Answer:
    return Answer(find(world, asked)["tags"])


def _add_tag(world: World, asked: Asked) -> Answer:
    one = find(world, asked)
    one["tags"] += [asked.parts["tag"]] if asked.parts["tag"] not in one["tags"] else []
    return Answer(one["tags"])


def _list_logs(world: World, asked: Asked) -> Answer:
    one, project = find(world, asked), project_of(world, asked)
    url = world.api(project, f"build/builds/{one['id']}/logs")
    told = [
        {
            "id": at,
            "type": "Container",
            "url": f"{url}/{at}",
            "lineCount": len(lines),
            "createdOn": one["queueTime"],
            "lastChangedOn": one.get("finishTime", one["queueTime"]),
        }
        for at, lines in enumerate(world.logs[one["id"]], 1)
    ]
    return Answer(told)


def _get_log(world: World, asked: Asked) -> Answer:
    one, number = find(world, asked), asked.parts["logId"]
    logs = world.logs[one["id"]]
    if not number.isdecimal() or not 0 < int(number) <= len(logs):
        message = f"Log {number} of build {one['id']} was not found."
        raise RefusedError(404, "BuildLogNotFoundException", message)
    lines = logs[int(number) - 1]
    lines = lines[asked.number("startLine", 1) - 1 : asked.number("endLine", len(lines))]
    if "application/json" in asked.accept:
        return Answer(lines)
    text = "".join(f"{line}\r\n" for line in lines)
    return Answer(text.encode(), headers={"Content-Type": "text/plain"})


_ALL = "/{project}/_apis/build/builds"
_ONE = f"{_ALL}/{{buildId}}"
_READ = Needs("View builds", "vso.build")
_WRITE = Needs("Queue builds", "vso.build_execute")
_STOP = Needs("Stop builds", "vso.build_execute")
_TAG = Needs("Edit build quality", "vso.build_execute")
_SEARCH = (
    *("definitions", "buildIds", "branchName", "repositoryId", "repositoryType", "tagFilters"),
    *("statusFilter", "resultFilter", "minTime", "queryOrder", "$top", "continuationToken"),
)
_LINES = ("startLine", "endLine")

ROUTES = (
    Route("builds.queue", "POST", _ALL, _queue_build, _WRITE, "Build", "BuildOrder"),
    Route("builds.list", "GET", _ALL, _list, _READ, "Build[]", None, _SEARCH),
    Route("builds.get", "GET", _ONE, _get, _READ, "Build"),
    Route("builds.update", "PATCH", _ONE, _update, _STOP, "Build", "BuildChange"),
    Route("build-tags.list", "GET", f"{_ONE}/tags", _list_tags, _READ, "Tag[]"),
    Route("build-tags.add", "PUT", f"{_ONE}/tags/{{tag}}", _add_tag, _TAG, "Tag[]"),
    Route("build-logs.list", "GET", f"{_ONE}/logs", _list_logs, _READ, "BuildLog[]"),
    Route(
        "build-logs.get", "GET", f"{_ONE}/logs/{{logId}}", _get_log, _READ, "Tag[]", None, _LINES
    ),
)

"""Runs of pipelines: builds, as the API of pipelines tells of them.

Published as ``pipelines/7.1/pipelines.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs. A run has its build's id.
"""

from __future__ import annotations

from tests.forge.builds import find, number_of, queue
from tests.forge.pipelines import definition, project_of, told_pipeline
from tests.forge.route import Needs, Route
from tests.forge.speech import Answer, Asked
from tests.forge.world import Json, Project, World


def _told_run(world: World, project: Project, one: Json) -> Json:
    pipeline = world.definitions[one["definition"]]
    url = world.api(project, f"pipelines/{pipeline['id']}/runs/{one['id']}")
    repository = {
        "repository": {"id": one["repository"], "type": "azureReposGit"},
        "refName": one["sourceBranch"],
        "version": one["sourceVersion"],
    }
    listed = told_pipeline(world, pipeline, listed=True)
    told = {
        "id": one["id"],
        "name": number_of(one),
        "state": "completed" if one["status"] == "completed" else "inProgress",
        "createdDate": one["queueTime"],
        "url": url,
        "pipeline": {key: value for key, value in listed.items() if key != "_links"},
        "resources": {"repositories": {"self": repository}},
        "templateParameters": one["templateParameters"],
        "_links": {
            "self": {"href": url},
            "web": {"href": world.page(project, f"_build/results?buildId={one['id']}")},
        },
    }
    if one["variables"]:
        told["variables"] = {name: {"value": value} for name, value in one["variables"].items()}
    if one["status"] == "completed":
        # It knows no partial success.
        result = "failed" if one["result"] == "partiallySucceeded" else one["result"]
        told |= {"finishedDate": one["finishTime"], "result": result}
    return told


def _run(world: World, asked: Asked) -> Answer:
    one, body = definition(world, asked, "pipelineId"), asked.body
    source = body.get("resources", {}).get("repositories", {}).get("self", {})
    variables = {name: told["value"] for name, told in body.get("variables", {}).items()}
    given = (source.get("refName"), source.get("version"), variables)
    made = queue(world, asked, one, *given, body.get("templateParameters", {}))
    return Answer(_told_run(world, project_of(world, asked), made))


def _list_runs(world: World, asked: Asked) -> Answer:
    one, project = definition(world, asked, "pipelineId"), project_of(world, asked)
    found = [build for build in world.builds.values() if build["definition"] == one["id"]]
    return Answer([_told_run(world, project, build) for build in reversed(found)])


def _get_run(world: World, asked: Asked) -> Answer:
    definition(world, asked, "pipelineId")
    return Answer(_told_run(world, project_of(world, asked), find(world, asked, "runId")))


_ALL = "/{project}/_apis/pipelines/{pipelineId}/runs"
_READ = Needs("View builds", "vso.build")
_WRITE = Needs("Queue builds", "vso.build_execute")

ROUTES = (
    Route("runs.create", "POST", _ALL, _run, _WRITE, "Run", "RunPipelineParameters"),
    Route("runs.list", "GET", _ALL, _list_runs, _READ, "Run[]"),
    Route("runs.get", "GET", f"{_ALL}/{{runId}}", _get_run, _READ, "Run"),
)

"""Pipelines made from a file of a repository, in both of their APIs: pipelines and definitions.

Published as ``pipelines/7.1/pipelines.json`` and ``build/7.1/build.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs. What a configuration says beside its type is
in no Swagger, but in the example of
https://learn.microsoft.com/rest/api/azure/devops/pipelines/pipelines/create.
"""

from __future__ import annotations

from tests.forge.repositories import told_project
from tests.forge.route import Needs, Route
from tests.forge.speech import Answer, Asked, RefusedError
from tests.forge.world import Json, Project, World, now

YAML = 2  # a process of this type reads a file; 1 is the designer's


def project_of(world: World, asked: Asked) -> Project:
    return world.project(asked.parts["organization"], asked.parts["project"])


def definition(world: World, asked: Asked, key: str) -> Json:
    """That a path names, of its project."""
    number, project = asked.parts[key], project_of(world, asked)
    found = world.definitions.get(int(number)) if number.isdecimal() else None
    if found is None or found["project"] != project.id:
        message = f"Definition {number} was not found."
        raise RefusedError(404, "DefinitionNotFoundException", message)
    return found


def _add(
    world: World, asked: Asked, name: str, folder: str, file: str, repository: str, **more: object
) -> Json:
    project = project_of(world, asked)
    # As people type it; kept with backslashes and one at its beginning.
    folder = "\\" + folder.replace("/", "\\").strip("\\")
    if any(
        one["project"] == project.id
        and one["name"].casefold() == name.casefold()
        and one["path"] == folder
        for one in world.definitions.values()
    ):
        message = f"Definition {name} already exists in {folder} for project {project.name}."
        raise RefusedError(409, "DefinitionExistsException", message)
    repo = world.repository(project.organization, project.name, repository)
    made: Json = {
        "id": next(world.ids),
        "name": name,
        "path": folder,
        "project": project.id,
        "repository": repo.id,
        "file": file.strip("/"),
        "revision": 1,
        "createdDate": now(),
        "author": world.identity(asked.token),
        "tags": [],
        "variables": {},
        **more,
    }
    world.definitions[made["id"]] = made
    return made


def _of_project(world: World, asked: Asked) -> list[Json]:
    project = project_of(world, asked)
    found = [one for one in world.definitions.values() if one["project"] == project.id]
    return sorted(found, key=lambda one: one["name"])


def _paged(asked: Asked, found: list[Json], told: list[Json]) -> Answer:
    """A page, and the header that says where the next begins."""
    ids = [str(one["id"]) for one in found]
    token = asked.query.get("continuationToken")
    start = ids.index(token) if token in ids else 0
    end = start + asked.number("$top", 1000)
    headers = {"x-ms-continuationtoken": ids[end]} if end < len(ids) else {}
    return Answer(told[start:end], headers=headers)


# pipelines


def told_pipeline(world: World, one: Json, *, listed: bool = False) -> Json:
    project = next(project for project in world.projects if project.id == one["project"])
    url = world.api(project, f"pipelines/{one['id']}")
    told = {
        "id": one["id"],
        "name": one["name"],
        "folder": one["path"],
        "revision": one["revision"],
        "url": f"{url}?revision={one['revision']}",
        "_links": {
            "self": {"href": f"{url}?revision={one['revision']}"},
            "web": {"href": world.page(project, f"_build/definition?definitionId={one['id']}")},
        },
    }
    if listed:
        return told
    repository = {"id": one["repository"], "type": "azureReposGit"}
    configuration = {"type": "yaml", "path": f"/{one['file']}", "repository": repository}
    return told | {"configuration": configuration}


def _list(world: World, asked: Asked) -> Answer:
    found = _of_project(world, asked)
    return _paged(asked, found, [told_pipeline(world, one, listed=True) for one in found])


def _get(world: World, asked: Asked) -> Answer:
    return Answer(told_pipeline(world, definition(world, asked, "pipelineId")))


def _create(world: World, asked: Asked) -> Answer:
    body, configuration = asked.body, asked.body["configuration"]
    made = _add(
        *(world, asked, body["name"], body.get("folder", "")),
        *(configuration["path"], configuration["repository"]["id"]),
    )
    return Answer(told_pipeline(world, made))


# definitions


def referred(world: World, one: Json) -> Json:
    """As a build tells of it."""
    project = next(project for project in world.projects if project.id == one["project"])
    return {
        "id": one["id"],
        "name": one["name"],
        "path": one["path"],
        "type": "build",
        "queueStatus": "enabled",
        "revision": one["revision"],
        "createdDate": one["createdDate"],
        "url": world.api(project, f"build/Definitions/{one['id']}"),
        "uri": f"vstfs:///Build/Definition/{one['id']}",
        "project": told_project(world, project),
    }


def told_definition(world: World, one: Json, *, listed: bool = False) -> Json:
    project = next(project for project in world.projects if project.id == one["project"])
    page = world.page(project, f"_build/definition?definitionId={one['id']}")
    links = {"self": {"href": referred(world, one)["url"]}, "web": {"href": page}}
    told = referred(world, one) | {"quality": "definition", "authoredBy": one["author"]}
    told |= {"drafts": [], "_links": links}
    if listed:
        return told
    repo = world.repositories.get(one["repository"])
    return told | {
        "process": {"type": YAML, "yamlFilename": one["file"]},
        "repository": {
            "id": one["repository"],
            "type": "TfsGit",
            **(
                {"name": repo.name, "url": world.page(project, f"_git/{repo.name}")} if repo else {}
            ),
            "defaultBranch": "refs/heads/main",
        },
        "tags": one["tags"],
        "variables": one["variables"],
        **({"description": one["description"]} if one.get("description") else {}),
    }


def _list_definitions(world: World, asked: Asked) -> Answer:
    found = _of_project(world, asked)
    query = asked.query
    if name := query.get("name"):
        start = name.rstrip("*").casefold()
        found = [
            one
            for one in found
            if one["name"].casefold() == start
            or (name.endswith("*") and one["name"].casefold().startswith(start))
        ]
    if path := query.get("path"):
        found = [one for one in found if one["path"] == "\\" + path.replace("/", "\\").strip("\\")]
    if repository := query.get("repositoryId"):
        if query.get("repositoryType") != "TfsGit":
            message = "The value for repositoryType is missing."
            raise RefusedError(400, "InvalidDefinitionQueryException", message)
        found = [one for one in found if one["repository"] == repository]
    if file := query.get("yamlFilename"):
        found = [one for one in found if one["file"] == file.strip("/")]
    listed = not asked.flag("includeAllProperties")
    return _paged(asked, found, [told_definition(world, one, listed=listed) for one in found])


def _get_definition(world: World, asked: Asked) -> Answer:
    return Answer(told_definition(world, definition(world, asked, "definitionId")))


def _create_definition(world: World, asked: Asked) -> Answer:
    body = asked.body
    made = _add(
        *(world, asked, body["name"], body.get("path", "")),
        *(body["process"]["yamlFilename"], body["repository"]["id"]),
        description=body.get("description"),
        variables=body.get("variables", {}),
    )
    return Answer(told_definition(world, made))


def _delete_definition(world: World, asked: Asked) -> Answer:
    del world.definitions[definition(world, asked, "definitionId")["id"]]
    return Answer(status=204)


def _list_tags(world: World, asked: Asked) -> Answer:
    return Answer(definition(world, asked, "definitionId")["tags"])


def _add_tag(world: World, asked: Asked) -> Answer:
    tags = definition(world, asked, "definitionId")["tags"]
    tags += [asked.parts["tag"]] if asked.parts["tag"] not in tags else []
    return Answer(tags)


_PIPELINES = "/{project}/_apis/pipelines"
_DEFINITIONS = "/{project}/_apis/build/definitions"
_ONE = f"{_DEFINITIONS}/{{definitionId}}"
_READ = Needs("View build pipeline", "vso.build")
_WRITE = Needs("Edit build pipeline", "vso.build_execute")
_DELETE = Needs("Delete build pipeline", "vso.build_execute")
_PAGE = ("$top", "continuationToken")
_SEARCH = (
    *("name", "path", "repositoryId", "repositoryType", "yamlFilename", "includeAllProperties"),
    *_PAGE,
)
_TAG = f"{_ONE}/tags/{{tag}}"

ROUTES = (
    Route("pipelines.list", "GET", _PIPELINES, _list, _READ, "PipelineListed[]", None, _PAGE),
    Route(
        *("pipelines.get", "GET", f"{_PIPELINES}/{{pipelineId}}", _get, _READ),
        *("Pipeline", None, ("pipelineVersion",)),
    ),
    Route(
        *("pipelines.create", "POST", _PIPELINES, _create, _WRITE),
        *("Pipeline", "CreatePipelineParameters"),
    ),
    Route(
        *("definitions.list", "GET", _DEFINITIONS, _list_definitions, _READ),
        *("BuildDefinition[]", None, _SEARCH),
    ),
    Route("definitions.get", "GET", _ONE, _get_definition, _READ, "BuildDefinition"),
    Route(
        *("definitions.create", "POST", _DEFINITIONS, _create_definition, _WRITE),
        *("BuildDefinition", "BuildDefinitionOrder"),
    ),
    Route("definitions.delete", "DELETE", _ONE, _delete_definition, _DELETE),
    Route("definition-tags.list", "GET", f"{_ONE}/tags", _list_tags, _READ, "Tag[]", preview=True),
    Route("definition-tags.add", "PUT", _TAG, _add_tag, _WRITE, "Tag[]", preview=True),
)

"""Projects and Git repositories.

Published as ``core/7.1/core.json`` and ``git/7.1/git.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs, explained at
https://learn.microsoft.com/rest/api/azure/devops/git/repositories?view=azure-devops-rest-7.1. The
texts of errors are as people report them: TF400948, TF401025, TF401019.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

from tests.forge.route import Needs, Route, both
from tests.forge.speech import Answer, Asked, RefusedError
from tests.forge.world import Json, Project, Repo, World, now

NOT_IN_A_NAME = re.compile(r'[\\/:*?"<>;#${},+=\[\]|\x00-\x1f]|^[_.]|[.,]$')


def told_project(world: World, project: Project) -> Json:
    return {
        "id": project.id,
        "name": project.name,
        "url": f"{world.url}/{project.organization}/_apis/projects/{project.id}",
        "state": "wellFormed",
        "revision": 11,
        "visibility": "private",
        "lastUpdateTime": "2026-01-05T10:00:00Z",
    }


def told_repository(world: World, repo: Repo) -> Json:
    page = world.page(repo.project, f"_git/{quote(repo.name)}")
    organization = repo.project.organization
    told = {
        "id": repo.id,
        "name": repo.name,
        "url": world.api(repo.project, f"git/repositories/{repo.id}"),
        "project": told_project(world, repo.project),
        "size": 0,
        # With the organization as its user, as the service has it.
        "remoteUrl": page.replace("://", f"://{organization}@", 1),
        "sshUrl": f"git@ssh.dev.azure.com:v3/{organization}/{repo.project.name}/{repo.name}",
        "webUrl": page,
        "isDisabled": repo.disabled,
        "isInMaintenance": False,
    }
    if branch := repo.default_branch:
        told["defaultBranch"] = branch
    return told


def _get_project(world: World, asked: Asked) -> Answer:
    project = world.project(asked.parts["organization"], asked.parts["projectId"])
    return Answer(told_project(world, project))


def _list_projects(world: World, asked: Asked) -> Answer:
    here = [one for one in world.projects if one.organization == asked.parts["organization"]]
    start = asked.number("$skip", 0)
    page = here[start : start + asked.number("$top", 100)]
    return Answer([told_project(world, project) for project in page])


def _list(world: World, asked: Asked) -> Answer:
    organization, name = asked.parts["organization"], asked.parts.get("project")
    inside = world.project(organization, name) if name else None
    found = [
        repo
        for repo in world.repositories.values()
        if repo.project.organization == organization and inside in (None, repo.project)
    ]
    return Answer([told_repository(world, repo) for repo in found])


def _get(world: World, asked: Asked) -> Answer:
    return Answer(told_repository(world, repository(world, asked)))


def repository(world: World, asked: Asked) -> Repo:
    """That a path names."""
    parts = asked.parts
    return world.repository(parts["organization"], parts.get("project"), parts["repositoryId"])


def _name_for(world: World, project: Project, name: str, *, of: Repo | None = None) -> str:
    if not 0 < len(name) <= 64 or NOT_IN_A_NAME.search(name):
        message = f"TF401025: '{name}' is not a valid name for a Git repository."
        raise RefusedError(400, "InvalidGitRepositoryNameException", message)
    for repo in world.repositories.values():
        same = repo.project == project and repo.name.casefold() == name.casefold()
        if same and repo != of:
            message = f"TF400948: A Git repository with the name {name} already exists."
            raise RefusedError(409, "GitRepositoryNameAlreadyExistsException", message)
    return name


def _create(world: World, asked: Asked) -> Answer:
    wanted = asked.parts.get("project") or asked.body.get("project", {}).get("id", "")
    project = world.project(asked.parts["organization"], wanted)
    repo = world.add_repository(project, _name_for(world, project, asked.body["name"]))
    return Answer(told_repository(world, repo), 201)


def _update(world: World, asked: Asked) -> Answer:
    repo = repository(world, asked)
    if name := asked.body.get("name"):
        repo = world.change_repository(repo, name=_name_for(world, repo.project, name, of=repo))
    if branch := asked.body.get("defaultBranch"):
        if branch not in repo.refs("refs/heads/"):
            message = f"TF401395: The specified branch {branch} does not exist in the repository."
            raise RefusedError(400, "InvalidArgumentValueException", message)
        repo.git("symbolic-ref", "HEAD", branch)
    if "isDisabled" in asked.body:
        repo = world.change_repository(repo, disabled=asked.body["isDisabled"])
    return Answer(told_repository(world, repo))


def _delete(world: World, asked: Asked) -> Answer:
    """Into the recycle bin, where it keeps its id and gives its name free."""
    organization, project = asked.parts["organization"], asked.parts.get("project")
    repo = world.repository(organization, project, asked.parts["repositoryId"])
    del world.repositories[repo.id]
    deleted = {"deletedBy": world.identity(asked.token), "deletedDate": now()}
    world.recycled[repo.id] = replace(repo, deleted=deleted)
    return Answer(status=204)


def _list_recycled(world: World, asked: Asked) -> Answer:
    project = world.project(asked.parts["organization"], asked.parts["project"])
    told = [
        {
            "id": repo.id,
            "name": repo.name,
            "project": told_project(world, project),
            "createdDate": "2026-01-05T10:00:00Z",
            **(repo.deleted or {}),
        }
        for repo in world.recycled.values()
        if repo.project == project
    ]
    return Answer(told)


def _recycled(world: World, asked: Asked) -> Repo:
    project = world.project(asked.parts["organization"], asked.parts["project"])
    repo = world.recycled.get(asked.parts["repositoryId"])
    if repo is None or repo.project != project:
        message = f"TF401019: The Git repository {asked.parts['repositoryId']} does not exist."
        raise RefusedError(404, "GitRepositoryNotFoundException", message)
    return repo


def _destroy(world: World, asked: Asked) -> Answer:
    del world.recycled[_recycled(world, asked).id]
    return Answer(status=204)


def _restore(world: World, asked: Asked) -> Answer:
    repo = _recycled(world, asked)
    _name_for(world, repo.project, repo.name)
    del world.recycled[repo.id]
    world.repositories[repo.id] = replace(repo, deleted=None)
    return Answer(told_repository(world, world.repositories[repo.id]))


_ALL = "/{project}/_apis/git/repositories"
_ONE = f"{_ALL}/{{repositoryId}}"
_BIN = "/{project}/_apis/git/recycleBin/repositories"
_PROJECTS = "/_apis/projects"
_LISTED = ("includeLinks", "includeAllUrls", "includeHidden")
_READ = Needs("GenericRead", "vso.code")
_CREATE, _RENAME, _DELETE = (
    Needs(f"{one}Repository", "vso.code_manage") for one in ("Create", "Rename", "Delete")
)
_SEE = Needs(None, "vso.project")
_REPO = "GitRepository"

ROUTES = (
    Route(
        "projects.get",
        "GET",
        _PROJECTS + "/{projectId}",
        _get_project,
        _SEE,
        "TeamProjectReference",
    ),
    Route(
        *("projects.list", "GET", _PROJECTS, _list_projects, _SEE),
        *("TeamProjectReference[]", None, ("$top", "$skip", "stateFilter")),
    ),
    *both(Route("repositories.list", "GET", _ALL, _list, _READ, f"{_REPO}[]", None, _LISTED)),
    *both(Route("repositories.get", "GET", _ONE, _get, _READ, _REPO)),
    *both(
        Route(
            *("repositories.create", "POST", _ALL, _create, _CREATE),
            *(_REPO, "GitRepositoryCreateOptions"),
        )
    ),
    *both(
        Route("repositories.update", "PATCH", _ONE, _update, _RENAME, _REPO, "GitRepositoryChange")
    ),
    *both(Route("repositories.delete", "DELETE", _ONE, _delete, _DELETE)),
    Route("recycled.list", "GET", _BIN, _list_recycled, _READ, "GitDeletedRepository[]"),
    Route("recycled.destroy", "DELETE", _BIN + "/{repositoryId}", _destroy, _DELETE),
    Route(
        *("recycled.restore", "PATCH", _BIN + "/{repositoryId}", _restore, _CREATE),
        *(_REPO, "GitRecycleBinRepositoryDetails"),
    ),
)

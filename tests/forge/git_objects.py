"""Refs, annotated tags, commits and items of a repository.

Published as ``git/7.1/git.json`` in https://github.com/MicrosoftDocs/vsts-rest-api-specs, explained
at https://learn.microsoft.com/rest/api/azure/devops/git/refs?view=azure-devops-rest-7.1.
"""

from __future__ import annotations

import re
from uuid import uuid4

from tests.forge.repositories import repository
from tests.forge.route import Needs, Route, both
from tests.forge.speech import Answer, Asked, RefusedError
from tests.forge.world import NOBODY, Json, Repo, World

_OBJECT = re.compile(r"[0-9a-f]{40}")
_FORMAT = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00%x01"


def _url(world: World, repo: Repo, path: str) -> str:
    return world.api(repo.project, f"git/repositories/{repo.id}/{path}")


def _list_refs(world: World, asked: Asked) -> Answer:
    repo = repository(world, asked)
    # A filter is where a name begins: "heads/main" finds main2, too.
    start, inside = f"refs/{asked.query.get('filter', '')}", asked.query.get("filterContains", "")
    ids = repo.refs()
    names = [
        name
        for name in ids
        if name.startswith(start)
        and inside in name
        and name > asked.query.get("continuationToken", "")
    ]
    page = names[: asked.number("$top", len(names))]
    headers = {"x-ms-continuationtoken": page[-1]} if 0 < len(page) < len(names) else {}
    told: list[Json] = []
    for name in page:
        one = {
            "name": name,
            "objectId": ids[name],
            "creator": world.identity(asked.token),
            "url": _url(world, repo, f"refs?filter={name.removeprefix('refs/')}"),
        }
        if asked.flag("peelTags") and name.startswith("refs/tags/"):
            peeled = repo.git("rev-parse", f"{name}^{{}}")
            one |= {"peeledObjectId": peeled} if peeled != ids[name] else {}
        told.append(one)
    return Answer(told, headers=headers)


def _update_refs(world: World, asked: Asked) -> Answer:
    """Each by itself; 200 even where none was updated."""
    repo = repository(world, asked)
    return Answer([_update_ref(world, repo, asked, one) for one in asked.body])


def _update_ref(world: World, repo: Repo, asked: Asked, wanted: Json) -> Json:
    name, old, new = wanted["name"], wanted["oldObjectId"], wanted["newObjectId"]
    current = repo.refs().get(name, NOBODY)
    status = "succeeded"
    if (
        not name.startswith("refs/")
        or repo.git("check-ref-format", "--normalize", name, fails=True) != name
    ):
        status = "invalidRefName"
    elif old != current:
        status = "staleOldObjectId"
    elif current != NOBODY and name in world.protected(repo):
        status = "rejectedByPolicy"
    elif new != NOBODY and not repo.git(
        "rev-parse", "-q", "--verify", f"{new}^{{commit}}", fails=True
    ):
        status = "unresolvableToCommit"
    elif new == NOBODY and not asked.token.may("ForcePush"):
        status = "forcePushRequired"
    elif old == NOBODY and name.startswith("refs/tags/") and not asked.token.may("CreateTag"):
        status = "createTagPermissionRequired"
    elif old == NOBODY and name.startswith("refs/heads/") and not asked.token.may("CreateBranch"):
        status = "createBranchPermissionRequired"
    elif new == NOBODY:
        repo.git("update-ref", "-d", name, old)
    else:
        repo.git("update-ref", name, new, old)
    return {
        "repositoryId": repo.id,
        "name": name,
        "oldObjectId": old,
        "newObjectId": new,
        "isLocked": False,
        "updateStatus": status,
        "success": status == "succeeded",
    }


def _create_tag(world: World, asked: Asked) -> Answer:
    """An annotated one. The service makes the object and the ref."""
    repo = repository(world, asked)
    name, target = asked.body["name"], asked.body["taggedObject"]["objectId"]
    _object(repo, target)
    if f"refs/tags/{name}" in repo.refs("refs/tags/"):
        message = f"TF401384: The tag {name} already exists."
        raise RefusedError(409, "GitTagAlreadyExistsException", message)
    repo.git(
        "tag", "-a", "-F", "-", "--cleanup=verbatim", name, target, given=asked.body["message"]
    )
    return Answer(_told_tag(world, repo, repo.refs("refs/tags/")[f"refs/tags/{name}"]), 201)


def _get_tag(world: World, asked: Asked) -> Answer:
    repo = repository(world, asked)
    if _object(repo, asked.parts["objectId"]) != "tag":
        raise RefusedError(
            400, "ArgumentException", "TF401175: The object is not an annotated tag."
        )
    return Answer(_told_tag(world, repo, asked.parts["objectId"]))


def _object(repo: Repo, sha: str) -> str:
    """Its type. One that is missing is an internal error of the service."""
    kind = repo.git("cat-file", "-t", sha, fails=True) if _OBJECT.fullmatch(sha) else ""
    if not kind:
        message = f"TF400898: An Internal Error Occurred. Activity Id: {uuid4()}."
        raise RefusedError(500, "VssServiceException", message)
    return kind


def _told_tag(world: World, repo: Repo, sha: str) -> Json:
    head, _, message = repo.git("cat-file", "tag", sha).partition("\n\n")
    fields = dict(line.split(" ", 1) for line in head.splitlines())
    date = repo.git(
        "for-each-ref", f"refs/tags/{fields['tag']}", "--format=%(taggerdate:iso-strict)"
    )
    who, _, email = fields["tagger"].rpartition("> ")[0].partition(" <")
    return {
        "name": fields["tag"],
        "objectId": sha,
        "taggedObject": {"objectId": fields["object"], "objectType": fields["type"]},
        "taggedBy": {"name": who, "email": email, "date": date},
        "message": message,
        "url": _url(world, repo, f"annotatedtags/{sha}"),
    }


def _version(asked: Asked, prefix: str, repo: Repo) -> str:
    version = asked.query.get(f"{prefix}.version")
    if version is None:
        return repo.default_branch or "HEAD"
    kind = asked.query.get(f"{prefix}.versionType", "branch")
    return {"branch": "refs/heads/", "tag": "refs/tags/", "commit": ""}[kind] + version


def _list_commits(world: World, asked: Asked) -> Answer:
    repo = repository(world, asked)
    version = _version(asked, "searchCriteria.itemVersion", repo)
    if not repo.git("rev-parse", "--verify", "--quiet", f"{version}^{{commit}}", fails=True):
        if "searchCriteria.itemVersion.version" not in asked.query:
            return Answer([])  # an empty one has no commits
        message = f"TF401175: The version descriptor <{version}> could not be resolved to a version"
        raise RefusedError(404, "GitUnresolvableToCommitException", message)
    top, skip = asked.number("searchCriteria.$top", 100), asked.number("searchCriteria.$skip", 0)
    return Answer(_commits(world, repo, f"--max-count={top}", f"--skip={skip}", version, "--"))


def _get_commit(world: World, asked: Asked) -> Answer:
    repo, sha = repository(world, asked), asked.parts["commitId"]
    if _object(repo, sha) != "commit":
        raise RefusedError(400, "ArgumentException", f"TF401175: {sha} is not a commit")
    (told,) = _commits(world, repo, "--max-count=1", sha, "--")
    return Answer(told | {"push": {"date": told["committer"]["date"], "pushId": 1}})


def _commits(world: World, repo: Repo, *arguments: str) -> list[Json]:
    said = repo.git("log", f"--format={_FORMAT}", *arguments)
    return [_told_commit(world, repo, one) for one in said.split("\0\1")[:-1]]


def _told_commit(world: World, repo: Repo, said: str) -> Json:
    sha, tree, parents, *people, message = said.strip("\n").split("\0")
    names = ("name", "email", "date")
    return {
        "commitId": sha,
        "treeId": tree,
        "parents": parents.split(),
        "author": dict(zip(names, people[:3], strict=True)),
        "committer": dict(zip(names, people[3:], strict=True)),
        "comment": message.rstrip("\n"),
        "url": _url(world, repo, f"commits/{sha}"),
        "remoteUrl": world.page(repo.project, f"_git/{repo.name}/commit/{sha}"),
    }


def _get_item(world: World, asked: Asked) -> Answer:
    repo = repository(world, asked)
    version, path = _version(asked, "versionDescriptor", repo), asked.query.get("path", "/")
    sha = repo.git("rev-parse", "--verify", "--quiet", f"{version}:{path.strip('/')}", fails=True)
    if not sha:
        message = f"TF401174: The item '{path}' could not be found in the repository '{repo.name}'."
        raise RefusedError(404, "GitItemNotFoundException", message)
    content = repo.git("cat-file", "-p", sha)
    if "application/octet-stream" in asked.accept or asked.flag("download"):
        return Answer(content.encode(), headers={"Content-Type": "application/octet-stream"})
    told = {
        "objectId": sha,
        "gitObjectType": repo.git("cat-file", "-t", sha),
        "commitId": repo.git("rev-parse", f"{version}^{{commit}}"),
        "path": f"/{path.strip('/')}",
        "url": _url(world, repo, f"items{path}"),
    }
    if asked.flag("includeContent"):
        told |= {"content": content}
    return Answer(told)


_ONE = "/{project}/_apis/git/repositories/{repositoryId}"
_TAGS = f"{_ONE}/annotatedtags"
_REFS = ("filter", "filterContains", "peelTags", "$top", "continuationToken")
_COMMITS = tuple(
    f"searchCriteria.{one}"
    for one in ("$top", "$skip", "itemVersion.version", "itemVersion.versionType")
)
_ITEMS = (
    *("path", "includeContent", "download", "$format"),
    *("versionDescriptor.version", "versionDescriptor.versionType"),
)
_READ = Needs("GenericRead", "vso.code")
_WRITE = Needs("GenericContribute", "vso.code_write")
_TAG = Needs("CreateTag", "vso.code_write")

ROUTES = tuple(
    route
    for one in (
        Route("refs.list", "GET", f"{_ONE}/refs", _list_refs, _READ, "GitRef[]", None, _REFS),
        Route(
            *("refs.update", "POST", f"{_ONE}/refs", _update_refs, _WRITE),
            *("GitRefUpdateResult[]", "GitRefUpdates"),
        ),
        Route("tags.create", "POST", _TAGS, _create_tag, _TAG, "GitAnnotatedTag", "GitTagOrder"),
        Route("tags.get", "GET", _TAGS + "/{objectId}", _get_tag, _READ, "GitAnnotatedTag"),
        Route(
            *("commits.list", "GET", f"{_ONE}/commits", _list_commits, _READ),
            *("GitCommitRef[]", None, _COMMITS),
        ),
        Route("commits.get", "GET", _ONE + "/commits/{commitId}", _get_commit, _READ, "GitCommit"),
        Route("items.get", "GET", f"{_ONE}/items", _get_item, _READ, "GitItem", None, _ITEMS),
    )
    for route in both(one)
)

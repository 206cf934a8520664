"""Work items, made and changed by JSON patch, and found by queries.

Published as ``wit/7.1/workItemTracking.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs; its
``httpExamples/workItems/PATCH__wit_workitems__taskId_9.json`` shows one. Two that are made are two.
"""

from __future__ import annotations

import re
from typing import Any

from tests.forge.pipelines import project_of
from tests.forge.route import Needs, Route, both
from tests.forge.speech import Answer, Asked, RefusedError
from tests.forge.wiql import UnknownQueryError, condition
from tests.forge.world import Json, Project, World, now

TYPES = ("Bug", "Epic", "Feature", "Issue", "Task", "User Story")
_FIELD = re.compile(r"(System|Microsoft\.VSTS)\.[\w.]+")
_LINKS = {
    "Fixed in Commit": "vstfs:///Git/Commit/",
    "Pull Request": "vstfs:///Git/PullRequestId/",
    "Build": "vstfs:///Build/Build/",
    "Integrated in build": "vstfs:///Build/Build/",
    "Branch": "vstfs:///Git/Ref/",
}
_LONGEST_TAG = 400


def _invalid(message: str, kind: str = "VssPropertyValidationException") -> RefusedError:
    return RefusedError(400, kind, message)


def _patched(fields: Json, relations: list[Json], revision: int, patch: list[Json]) -> None:
    """Change them as a patch says."""
    for one in patch:
        operation, path = one["op"], one["path"]
        value: Any = one.get("value")
        if operation == "test":
            if path != "/rev" or value != revision:
                message = f"TF26071: The value at {path} is not {value}."
                raise RefusedError(412, "TestPatchOperationFailedException", message)
        elif path == "/relations/-" and operation == "add":
            relations.append(_relation(relations, value))
        elif (found := re.fullmatch(r"/relations/(\d+)", path)) and operation == "remove":
            del relations[int(found[1])]
        elif path.startswith("/fields/"):
            _set_field(fields, path.removeprefix("/fields/"), operation, value)
        else:
            raise _invalid(f"The patch operation {operation} {path} is not supported.")


def _set_field(fields: Json, name: str, operation: str, value: Any) -> None:
    if not _FIELD.fullmatch(name):
        message = f"TF51535: Cannot find field {name}."
        raise _invalid(message, "WorkItemTrackingFieldDefinitionNotFoundException")
    if operation == "remove" or value is None:
        fields.pop(name, None)
    elif name == "System.Tags":
        tags = [tag.strip() for tag in re.split("[;,]", value) if tag.strip()]
        if any(len(tag) > _LONGEST_TAG for tag in tags):
            raise _invalid("TF401407: The tag is too long.", "WorkItemTagLimitException")
        kept = list({tag.casefold(): tag for tag in reversed(tags)}.values())
        fields[name] = "; ".join(sorted(kept))
    else:
        fields[name] = value


def _relation(relations: list[Json], value: Json) -> Json:
    kind, url, attributes = value["rel"], value["url"], value.get("attributes", {})
    if kind == "ArtifactLink":
        start = _LINKS.get(attributes.get("name", ""))
        if start is None or not url.startswith(start):
            raise _invalid("Unrecognized Resource link.", "WorkItemResourceLinkException")
    elif kind != "Hyperlink" and not kind.startswith("System.LinkTypes."):
        raise _invalid(f"Relation type {kind} does not exist.", "WorkItemLinkTypeException")
    if any((one["rel"], one["url"].casefold()) == (kind, url.casefold()) for one in relations):
        raise _invalid("Relation already exists.", "RelationAlreadyExistsException")
    return {"rel": kind, "url": url, "attributes": {"authorizedDate": now(), **attributes}}


def link(world: World, number: str, url: str, name: str) -> None:
    """Have a work item lead to an artifact; one that is not there is passed over."""
    one = world.work_items.get(int(number))
    if one is not None and not _leads_to(one, url):
        value = {"rel": "ArtifactLink", "url": url, "attributes": {"name": name}}
        one["relations"] = [*one["relations"], _relation(one["relations"], value)]
        one["rev"] += 1


def linked_with(world: World, url: str) -> list[int]:
    return [number for number, one in world.work_items.items() if _leads_to(one, url)]


def _leads_to(one: Json, url: str) -> bool:
    return any(relation["url"].casefold() == url.casefold() for relation in one["relations"])


def _create(world: World, asked: Asked) -> Answer:
    project, kind = project_of(world, asked), asked.parts["type"]
    if kind not in TYPES:
        message = (
            f"VS402323: Work item type {kind} does not exist in project {project.name} or you do "
            "not have permission to access it."
        )
        raise RefusedError(404, "WorkItemTypeNotFoundException", message)
    fields = _fields_of_new(project, kind, world.identity(asked.token))
    relations: list[Json] = []
    _patched(fields, relations, 0, asked.body)
    if not fields.get("System.Title"):
        message = (
            "TF401320: Rule Error for field Title. Error code: Required, HasValues, "
            "LimitedToValues, AllowsOldValue, InvalidEmpty."
        )
        raise _invalid(message, "RuleValidationException")
    made: Json = {
        "id": next(world.ids),
        "rev": 1,
        "organization": project.organization,
        "project": project.id,
        "fields": fields,
        "relations": relations,
    }
    if not asked.flag("validateOnly"):
        world.work_items[made["id"]] = made
    return Answer(_told(world, made, relations=True))


def _fields_of_new(project: Project, kind: str, who: Json) -> Json:
    return {
        "System.AreaPath": project.name,
        "System.TeamProject": project.name,
        "System.IterationPath": project.name,
        "System.WorkItemType": kind,
        "System.State": "To Do",
        "System.Reason": "Added to backlog",
        "System.CreatedDate": now(),
        "System.CreatedBy": who,
        "System.ChangedDate": now(),
        "System.ChangedBy": who,
        "System.CommentCount": 0,
    }


def _told(world: World, one: Json, *, relations: bool) -> Json:
    url = f"{world.url}/{one['organization']}/{one['project']}/_apis/wit/workItems/{one['id']}"
    page = f"{world.url}/{one['organization']}/{one['project']}/_workitems/edit/{one['id']}"
    told = {"id": one["id"], "rev": one["rev"], "fields": one["fields"], "url": url}
    if relations:
        told |= {"_links": {"self": {"href": url}, "html": {"href": page}}}
        told |= {"relations": one["relations"]} if one["relations"] else {}
    return told


def _find(world: World, asked: Asked) -> Json:
    number = asked.parts["id"]
    one = world.work_items.get(int(number)) if number.isdecimal() else None
    project = project_of(world, asked).id if "project" in asked.parts else None
    if (
        one is None
        or one["organization"] != asked.parts["organization"]
        or project not in (None, one["project"])
    ):
        message = (
            f"TF401232: Work item {number} does not exist, or you do not have permissions to read "
            "it."
        )
        raise RefusedError(404, "WorkItemUnauthorizedAccessException", message)
    return one


def _get(world: World, asked: Asked) -> Answer:
    """Without its relations, unless they are asked for."""
    expanded = asked.query.get("$expand", "none").lower() in ("all", "relations")
    told = _told(world, _find(world, asked), relations=expanded)
    if wanted := asked.query.get("fields"):
        told["fields"] = {
            name: told["fields"][name] for name in wanted.split(",") if name in told["fields"]
        }
    return Answer(told)


def _update(world: World, asked: Asked) -> Answer:
    one = _find(world, asked)
    fields, relations = dict(one["fields"]), list(one["relations"])
    _patched(fields, relations, one["rev"], asked.body)
    changed = {"System.ChangedDate": now(), "System.ChangedBy": world.identity(asked.token)}
    one |= {"rev": one["rev"] + 1, "fields": fields | changed, "relations": relations}
    return Answer(_told(world, one, relations=True))


def _query(world: World, asked: Asked) -> Answer:
    project = project_of(world, asked)
    try:
        fields, matches = condition(asked.body["query"], project.name)
    except UnknownQueryError as unknown:
        raise NotImplementedError(f"query: {unknown}") from None
    url = f"{world.url}/{project.organization}/_apis/wit"
    found = [
        one["id"]
        for one in world.work_items.values()
        if one["organization"] == project.organization
        and matches(one["fields"] | {"System.Id": one["id"]})
    ]
    told = {
        "queryType": "flat",
        "queryResultType": "workItem",
        "asOf": now(),
        "columns": [
            {"referenceName": name, "name": name.split(".")[-1], "url": f"{url}/fields/{name}"}
            for name in fields
        ],
        "workItems": [
            {"id": number, "url": f"{url}/workItems/{number}"}
            for number in found[: asked.number("$top", 20000)]
        ],
    }
    return Answer(told)


_ITEMS = "/{project}/_apis/wit/workitems"
_READ = Needs("View work items in this node", "vso.work")
_WRITE = Needs("Edit work items in this node", "vso.work_write")
_PATCH = "application/json-patch+json"
_FLAGS = ("validateOnly", "bypassRules", "suppressNotifications", "$expand")
_SHOWN = ("fields", "$expand")

ROUTES = (
    Route(
        *("work-items.create", "POST", f"{_ITEMS}/${{type}}", _create, _WRITE),
        *("WorkItem", "JsonPatchDocument", _FLAGS),
        content=_PATCH,
    ),
    *both(
        Route(
            *("work-items.update", "PATCH", f"{_ITEMS}/{{id}}", _update, _WRITE),
            *("WorkItem", "JsonPatchDocument", _FLAGS),
            content=_PATCH,
        )
    ),
    *both(
        Route("work-items.get", "GET", f"{_ITEMS}/{{id}}", _get, _READ, "WorkItem", None, _SHOWN)
    ),
    Route(
        *("work-items.query", "POST", "/{project}/_apis/wit/wiql", _query, _READ),
        *("WorkItemQueryResult", "Wiql", ("$top", "timePrecision")),
    ),
)

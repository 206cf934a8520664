"""Service hooks, and who somebody is.

Published as ``hooks/7.1/serviceHooks.json`` in
https://github.com/MicrosoftDocs/vsts-rest-api-specs; what a web hook takes is in
https://learn.microsoft.com/azure/devops/service-hooks/consumers. Two that are made are two, and
secrets come back masked. ``connectionData`` is what Microsoft's own clients ask first: its shape is
in https://github.com/microsoft/azure-devops-python-api (``location/models.py``).
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_DNS, uuid4, uuid5

import httpx

from tests.forge.route import Needs, Route
from tests.forge.speech import Answer, Asked, RefusedError
from tests.forge.world import Json, Project, World, now

MASK = "********"
_SECRETS = ("basicAuthPassword", "httpHeaders")


def _told(world: World, one: Json) -> Json:
    """The project that an event has to come from is known by its id alone."""
    url = f"{world.url}/{one['organization']}/_apis/hooks/subscriptions/{one['id']}"
    inputs = {
        name: MASK if name in _SECRETS else value for name, value in one["consumerInputs"].items()
    }
    told = {key: value for key, value in one.items() if key not in ("organization", "secrets")}
    return told | {"consumerInputs": inputs, "url": url, "_links": {"self": {"href": url}}}


def _create(world: World, asked: Asked) -> Answer:
    body, organization = asked.body, asked.parts["organization"]
    inputs = body["publisherInputs"]
    if "projectId" in inputs:
        world.project(organization, inputs["projectId"])
    if not body["consumerInputs"].get("url", "").startswith(("http://", "https://")):
        message = "The value for the input url is not valid."
        raise RefusedError(400, "SubscriptionInputException", message)
    who = world.identity(asked.token)
    made: Json = {
        **body,
        "id": str(uuid4()),
        "organization": organization,
        "status": "enabled",
        "eventDescription": "Any",
        "actionDescription": "To host " + body["consumerInputs"]["url"].split("/")[2],
        "resourceVersion": body.get("resourceVersion", "1.0"),
        "createdBy": who,
        "createdDate": now(),
        "modifiedBy": who,
        "modifiedDate": now(),
    }
    world.hooks[made["id"]] = made
    return Answer(_told(world, made))


def _list(world: World, asked: Asked) -> Answer:
    found = [
        one
        for one in world.hooks.values()
        if one["organization"] == asked.parts["organization"]
        and all(asked.query.get(key) in (None, one[key]) for key in _SEARCH)
    ]
    return Answer([_told(world, one) for one in found])


def _find(world: World, asked: Asked) -> Json:
    one = world.hooks.get(asked.parts["subscriptionId"])
    if one is None or one["organization"] != asked.parts["organization"]:
        message = f"The subscription {asked.parts['subscriptionId']} could not be found."
        raise RefusedError(404, "SubscriptionNotFoundException", message)
    return one


def _get(world: World, asked: Asked) -> Answer:
    return Answer(_told(world, _find(world, asked)))


def _delete(world: World, asked: Asked) -> Answer:
    del world.hooks[_find(world, asked)["id"]]
    return Answer(status=204)


def tell(world: World, project: Project, event: str, resource: Json) -> list[httpx.Response]:
    """Send an event to all who are subscribed to it, once; what they answer.

    Events look as in https://learn.microsoft.com/azure/devops/service-hooks/events
    """
    answers: list[httpx.Response] = []
    told: Json = {
        "id": str(uuid4()),
        "eventType": event,
        "publisherId": "tfs",
        "message": {"text": f"{event} in {project.name}"},
        "detailedMessage": {"text": f"{event} in {project.name}"},
        "resource": resource,
        "resourceVersion": "1.0",
        "resourceContainers": {"project": {"id": project.id}},
        "createdDate": now(),
    }
    for number, one in enumerate(world.hooks.values(), 1):
        if one["eventType"] == event and one["publisherInputs"]["projectId"] == project.id:
            body = {"subscriptionId": one["id"], "notificationId": number, **told}
            answers.append(_post(one["consumerInputs"], body))
    return answers


def _post(inputs: Json, body: Json) -> httpx.Response:
    headers = dict(
        line.split(":", 1) for line in inputs.get("httpHeaders", "").splitlines() if line
    )
    login: Any = None
    if "basicAuthUsername" in inputs:
        login = (inputs["basicAuthUsername"], inputs["basicAuthPassword"])
    return httpx.post(inputs["url"], json=body, headers=headers, auth=login)


def _connection(world: World, asked: Asked) -> Answer:
    user = {
        "id": asked.token.id,
        "descriptor": f"Microsoft.IdentityModel.Claims.ClaimsIdentity;{asked.token.user}",
        "providerDisplayName": world.identity(asked.token)["displayName"],
        "isActive": True,
        "properties": {"Account": {"$type": "System.String", "$value": asked.token.user}},
    }
    instance = str(uuid5(NAMESPACE_DNS, asked.parts["organization"]))
    told = {
        "authenticatedUser": user,
        "authorizedUser": user,
        "instanceId": instance,
        "deploymentId": instance,
        "deploymentType": "hosted",
    }
    return Answer(told)


_ALL = "/_apis/hooks/subscriptions"
_ONE = f"{_ALL}/{{subscriptionId}}"
_SEARCH = ("publisherId", "eventType", "consumerId", "consumerActionId")
_READ = Needs("View subscriptions", "vso.hooks")
_WRITE = Needs("Edit subscriptions", "vso.hooks_write")
_SAID, _MADE = "Subscription", "SubscriptionOrder"

ROUTES = (
    Route("hooks.create", "POST", _ALL, _create, _WRITE, _SAID, _MADE),
    Route("hooks.list", "GET", _ALL, _list, _READ, f"{_SAID}[]", None, _SEARCH),
    Route("hooks.get", "GET", _ONE, _get, _READ, _SAID),
    Route("hooks.delete", "DELETE", _ONE, _delete, _WRITE),
    Route(
        *("connection", "GET", "/_apis/connectionData", _connection, Needs()),
        *("ConnectionData", None, ("connectOptions",)),
        preview=True,
    ),
)

"""ECR's repositories: kept by moto, with the URI of a registry that is really there; and the token for it."""

from __future__ import annotations

import base64
from typing import Any

from tests.components.aws.ecr.images import page, repository
from tests.components.aws.ecr.service import ECR
from tests.components.aws.wire.json_service import Call
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT

Document = dict[str, Any]
SETTINGS = {"BASIC_SCAN_TYPE_VERSION": "AWS_NATIVE", "REGISTRY_POLICY_SCOPE": "V2", "BLOB_MOUNTING": "DISABLED"}
"""The account settings and what they are before somebody sets them."""


def here(call: Call, described: Document) -> Document:
    """moto's description, with the host that answers on this machine."""
    uri = f"{call.world.registry_host(call.region)}/{described['repositoryName']}"
    return {name: value for name, value in described.items() if value is not None} | {"repositoryUri": uri}


@ECR.verb
def create_repository(call: Call) -> Document:
    answer = call.world.ask_moto(call)
    call.world.repositories.pop((call.region, call.request["repositoryName"]), None)
    return {"repository": here(call, answer["repository"])}


@ECR.verb
def describe_repositories(call: Call) -> Document:
    found, more = page(call.world.ask_moto(call)["repositories"], call.request)
    return {"repositories": [here(call, each) for each in found], **more}


@ECR.verb
def delete_repository(call: Call) -> Document:
    name = call.request["repositoryName"]
    if repository(call.world, call.region, name).images and not call.request.get("force"):
        raise Refused(
            "RepositoryNotEmptyException",
            f"The repository with name '{name}' in registry with id '{ACCOUNT}' cannot be deleted because it still contains images",
        )
    answer = call.world.ask_moto(call)
    call.world.repositories.pop((call.region, name), None)
    return {"repository": here(call, answer["repository"])}


@ECR.verb
def get_authorization_token(call: Call) -> Document:
    password, expires_at = call.world.tokens.issue(call.caller)
    return {
        "authorizationData": [
            {
                "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
                "expiresAt": expires_at,
                "proxyEndpoint": f"http://{call.world.registry_host(call.region)}",
            }
        ]
    }


@ECR.verb
def get_account_setting(call: Call) -> Document:
    name = setting_name(call)
    return {"name": name, "value": call.world.account_settings.get((call.region, name), SETTINGS[name])}


@ECR.verb
def put_account_setting(call: Call) -> Document:
    name = setting_name(call)
    call.world.account_settings[call.region, name] = call.request["value"]
    return {"name": name, "value": call.request["value"]}


def setting_name(call: Call) -> str:
    name = str(call.request["name"])
    if name not in SETTINGS:
        raise Refused("InvalidParameterException", f"Invalid parameter at 'name' failed to satisfy constraint: '{name}'")
    return name

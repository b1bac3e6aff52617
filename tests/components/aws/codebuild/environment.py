"""The variables of a build: CodeBuild's own, those of StartBuild, project and buildspec, and secrets by name."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.components.aws.codebuild.build import Build, PhaseFailed
from tests.components.aws.codebuild.buildspec import Buildspec
from tests.components.aws.codebuild.role import Session


def own(build: Build, session: Session, source: Path, home: Path) -> dict[str, str]:
    """https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html"""
    settings, document = build.settings, build.shown()
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{session.world.endpoint}{session.path}",
        "AWS_DEFAULT_REGION": build.region,
        "AWS_REGION": build.region,
        "AWS_ENDPOINT_URL": session.world.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CI": "true",
        "CODEBUILD_CI": "true",
        "CODEBUILD_BUILD_ARN": build.arn,
        "CODEBUILD_BUILD_ID": build.id,
        "CODEBUILD_BUILD_IMAGE": settings["environment"]["image"],
        "CODEBUILD_BUILD_NUMBER": str(build.number),
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        "CODEBUILD_INITIATOR": document["initiator"],
        "CODEBUILD_KMS_KEY_ID": settings["encryptionKey"],
        "CODEBUILD_LOG_PATH": document.get("logs", {}).get("streamName", ""),
        "CODEBUILD_PROJECT_ARN": settings["arn"],
        "CODEBUILD_RESOLVED_SOURCE_VERSION": document.get("resolvedSourceVersion", ""),
        "CODEBUILD_SOURCE_REPO_URL": settings["source"].get("location", ""),
        "CODEBUILD_SOURCE_VERSION": settings.get("sourceVersion", ""),
        "CODEBUILD_SRC_DIR": str(source),
        "CODEBUILD_START_TIME": str(int(time.time() * 1000)),
        "HOME": str(home),
        "PWD": str(source),
    }


def variables(build: Build, spec: Buildspec, session: Session) -> tuple[dict[str, str], list[str]]:
    """Those of the buildspec, and over them those of project and StartBuild; and the values that the log must not show."""
    given = {name: ("PLAINTEXT", value) for name, value in spec.variables.items()}
    given |= {name: ("PARAMETER_STORE", value) for name, value in spec.parameters.items()}
    given |= {name: ("SECRETS_MANAGER", value) for name, value in spec.secrets.items()}
    given |= {each["name"]: (each["type"], each["value"]) for each in build.settings["environment"]["environmentVariables"]}
    values = {name: resolved(kind, value, session) for name, (kind, value) in given.items()}
    return values, [values[name] for name, (kind, _) in given.items() if kind != "PLAINTEXT" and values[name]]


def resolved(kind: str, value: str, session: Session) -> str:
    """Raises PhaseFailed for what the role may not read, or is not there."""
    from botocore.exceptions import ClientError

    try:
        if kind == "PARAMETER_STORE":
            answer = session.client("ssm").get_parameter(Name=value, WithDecryption=True)
            return str(answer["Parameter"]["Value"])
        if kind == "SECRETS_MANAGER":
            return secret(session.client("secretsmanager"), value)
    except ClientError as error:
        where = "Parameter Store" if kind == "PARAMETER_STORE" else "Secrets Manager"
        said = error.response["Error"]
        raise PhaseFailed("CLIENT_ERROR", f"Error retrieving from {where}: {said['Code']}: {said['Message']}") from error
    return value


def secret(client: Any, reference: str) -> str:
    """secret-id:json-key:version-stage:version-id; an ARN has six colons more."""
    parts = reference.split(":")
    id = ":".join(parts[:7]) if reference.startswith("arn:") else parts[0]
    key = (parts[7:] if reference.startswith("arn:") else parts[1:])[:1]
    text = str(client.get_secret_value(SecretId=id)["SecretString"])
    return str(json.loads(text)[key[0]]) if key and key[0] else text

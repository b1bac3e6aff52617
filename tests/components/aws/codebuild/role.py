"""A build's service role: its session, and the credentials that the build finds at an address of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.components.aws.codebuild.build import Build, PhaseFailed

if TYPE_CHECKING:
    from tests.components.aws.world import World


@dataclass(frozen=True)
class Session:
    world: World
    region: str
    credentials: dict[str, Any]
    """As STS names them."""
    path: str
    """Where the endpoint serves them to the build's SDKs."""

    def client(self, service: str) -> Any:
        """boto3's, with the role's keys: what the role may not do is refused."""
        key = self.credentials
        return self.world.client(service, self.region, key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])

    def served(self) -> dict[str, str]:
        """https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html"""
        key = self.credentials
        return {
            "AccessKeyId": key["AccessKeyId"],
            "SecretAccessKey": key["SecretAccessKey"],
            "Token": key["SessionToken"],
            "Expiration": key["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def assume(world: World, build: Build) -> Session:
    """Raises PhaseFailed where the role is gone."""
    from botocore.exceptions import ClientError

    role, name = build.settings["serviceRole"], f"AWSCodeBuild-{build.id.partition(':')[2]}"
    try:
        world.moto_client("iam", "us-east-1").get_role(RoleName=role.rpartition("/")[2])
        answer = world.moto_client("sts", build.region).assume_role(RoleArn=role, RoleSessionName=name)
    except ClientError as error:
        raise PhaseFailed("ACCESS_DENIED", f"CodeBuild is not authorized to perform: sts:AssumeRole on {role}") from error
    session = Session(world, build.region, answer["Credentials"], f"/_credentials/{secrets.token_hex(16)}")
    world.credentials[session.path] = session.served
    world.secrets[answer["Credentials"]["AccessKeyId"]] = answer["Credentials"]["SecretAccessKey"]
    return session

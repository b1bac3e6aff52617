"""Resources that moto's CloudFormation lacks, made by calling the endpoint as the root. Runs in moto's process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.cloudformation.exceptions import ValidationError
from moto.core.common_models import CloudFormationModel

from tests.components.aws.wire.shapes import service_model
from tests.components.aws.world import ROOT_KEY, ROOT_SECRET, new_client

Document = dict[str, Any]
ENDPOINT = "TRAINYARD_AWS_ENDPOINT"
"""The variable that says where the endpoint is."""


def client(service: str, region: str) -> Any:
    return new_client(service, region, ROOT_KEY, ROOT_SECRET, None, os.environ[ENDPOINT])


def request_of(shape: Any, value: Any) -> Any:
    """A template's properties as an operation's members, whose names differ in case: BuildSpec is buildspec.

    Numbers and booleans may come as text. Raises ValueError for a property that the operation does not have.
    """
    if shape.type_name == "structure":
        members = {name.lower(): name for name in shape.members}
        if unknown := [name for name in value if name.lower() not in members]:
            raise ValueError(f"{shape.name} has no {', '.join(unknown)}")
        pairs = [(members[name.lower()], each) for name, each in value.items()]
        return {name: request_of(shape.members[name], each) for name, each in pairs}
    if shape.type_name == "list":
        return [request_of(shape.member, each) for each in value]
    if shape.type_name == "boolean":
        return str(value).lower() == "true"
    return int(value) if shape.type_name in ("integer", "long") else value


@contextmanager
def failing_the_stack(name: str) -> Iterator[None]:
    """What AWS refuses, and what is not handled here, becomes moto's ValidationError."""
    try:
        yield
    except (BotoCoreError, ClientError, ValueError) as error:
        raise ValidationError(name, str(error)) from error


class Resource(CloudFormationModel):
    """What all have; moto lists direct subclasses of CloudFormationModel, so those below are that too."""

    def __init__(self, name: str, region: str) -> None:
        self.name, self.region = name, region

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_type() -> str:
        return "Trainyard::Tests::Resource"

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""


class CodeBuildProject(Resource, CloudFormationModel):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-codebuild-project.html"""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CodeBuild::Project"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("Arn", "Id")

    def get_cfn_attribute(self, attribute_name: str) -> str:
        [project] = client("codebuild", self.region).batch_get_projects(names=[self.name])["projects"]
        return str(project["arn"])

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Document, account_id: str, region_name: str, **kwargs: Any
    ) -> CodeBuildProject:
        return cls.send("CreateProject", resource_name, cloudformation_json, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: CodeBuildProject,
        new_resource_name: str,
        cloudformation_json: Document,
        account_id: str,
        region_name: str,
    ) -> CodeBuildProject:
        if original_resource.name == new_resource_name:
            return cls.send("UpdateProject", new_resource_name, cloudformation_json, region_name)
        made = cls.send("CreateProject", new_resource_name, cloudformation_json, region_name)
        original_resource.delete(account_id, region_name)
        return made

    @classmethod
    def send(cls, operation: str, name: str, template: Document, region: str) -> CodeBuildProject:
        shape = service_model("codebuild").operation_model(operation).input_shape
        codebuild = client("codebuild", region)
        with failing_the_stack(name):
            request = request_of(shape, {**template["Properties"], "Name": name})
            (codebuild.create_project if operation == "CreateProject" else codebuild.update_project)(**request)
        return cls(name, region)

    def delete(self, account_id: str, region_name: str) -> None:
        client("codebuild", self.region).delete_project(name=self.name)


class BucketPolicy(Resource, CloudFormationModel):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-s3-bucketpolicy.html"""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::BucketPolicy"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Document, account_id: str, region_name: str, **kwargs: Any
    ) -> BucketPolicy:
        properties = cloudformation_json["Properties"]
        policy = json.dumps(properties["PolicyDocument"])
        client("s3", region_name).put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)
        return cls(properties["Bucket"], region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: BucketPolicy,
        new_resource_name: str,
        cloudformation_json: Document,
        account_id: str,
        region_name: str,
    ) -> BucketPolicy:
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

    def delete(self, account_id: str, region_name: str) -> None:
        """The bucket may have gone before it."""
        s3 = client("s3", self.region)
        try:
            s3.delete_bucket_policy(Bucket=self.name)
        except s3.exceptions.NoSuchBucket:
            return

"""AWS::S3::Bucket with all that a template says of it: moto makes the bucket and its encryption, and forgets the rest.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-s3-bucket.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.common_models import CloudFormationModel
from moto.s3 import models as models  # moto takes the class of a type that is defined last: its own must be there before

from tests.components.aws.stack_resources import Document, Resource, client, failing_the_stack


def put_versioning(s3: Any, bucket: str, value: Document) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=value)


def put_encryption(s3: Any, bucket: str, value: Document) -> None:
    rules = [
        {
            ("ApplyServerSideEncryptionByDefault" if name == "ServerSideEncryptionByDefault" else name): each
            for name, each in rule.items()
        }
        for rule in value["ServerSideEncryptionConfiguration"]
    ]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})


def put_access_block(s3: Any, bucket: str, value: Document) -> None:
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=value)


def put_ownership(s3: Any, bucket: str, value: Document) -> None:
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=value)


def put_lifecycle(s3: Any, bucket: str, value: Document) -> None:
    rules = [lifecycle_rule(rule) for rule in value["Rules"]]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def lifecycle_rule(rule: Document) -> Document:
    """A template's rule as S3 has it. Raises ValueError for what is not handled."""
    given = dict(rule)
    made = {"ID": given.pop("Id", ""), "Status": given.pop("Status"), "Filter": {"Prefix": given.pop("Prefix", "")}}
    if "ExpirationInDays" in given:
        made["Expiration"] = {"Days": int(given.pop("ExpirationInDays"))}
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if name in given:
            made[name] = {key: int(each) for key, each in given.pop(name).items()}
    if given:
        raise ValueError(f"lifecycle rules with {', '.join(given)} are not handled in {__name__}")
    return made


def put_tags(s3: Any, bucket: str, value: list[Document]) -> None:
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": value})


PUT: dict[str, Callable[[Any, str, Any], None]] = {
    "VersioningConfiguration": put_versioning,
    "BucketEncryption": put_encryption,
    "PublicAccessBlockConfiguration": put_access_block,
    "OwnershipControls": put_ownership,
    "LifecycleConfiguration": put_lifecycle,
    "Tags": put_tags,
}
"""Property -> what sets it."""


class Bucket(Resource, CloudFormationModel):
    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::Bucket"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "BucketName"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("Arn", "DomainName", "RegionalDomainName")

    def get_cfn_attribute(self, attribute_name: str) -> str:
        region = f"{self.region}." if attribute_name == "RegionalDomainName" else ""
        return f"arn:aws:s3:::{self.name}" if attribute_name == "Arn" else f"{self.name}.s3.{region}amazonaws.com"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Document, account_id: str, region_name: str, **kwargs: Any
    ) -> Bucket:
        bucket = cls(resource_name.lower(), region_name)
        elsewhere = {} if region_name == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region_name}}
        with failing_the_stack(bucket.name):
            client("s3", region_name).create_bucket(Bucket=bucket.name, **elsewhere)
        return bucket.put(cloudformation_json)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Bucket,
        new_resource_name: str,
        cloudformation_json: Document,
        account_id: str,
        region_name: str,
    ) -> Bucket:
        """Of the same name; another name is not handled."""
        return original_resource.put(cloudformation_json)

    def put(self, template: Document) -> Bucket:
        with failing_the_stack(self.name):
            for name, value in (template.get("Properties") or {}).items():
                if name not in PUT and name != "BucketName":
                    raise ValueError(f"the property {name} is not handled in {__name__}")
                if name in PUT:
                    PUT[name](client("s3", self.region), self.name, value)
        return self

    def delete(self, account_id: str, region_name: str) -> None:
        """Not one that holds something, as AWS."""
        with failing_the_stack(self.name):
            client("s3", self.region).delete_bucket(Bucket=self.name)

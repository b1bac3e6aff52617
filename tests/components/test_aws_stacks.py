"""CloudFormation at the wire: stacks with repositories and CodeBuild projects are really made, changed and deleted."""

from __future__ import annotations

import pytest
import yaml
from botocore.exceptions import ClientError

from tests.components.aws.building import ended, start
from tests.components.aws.pushing import Pusher
from tests.components.aws.running import VERSION, Aws

TRUST = {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}
TEMPLATE = {
    "Resources": {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": "stack-role",
                "AssumeRolePolicyDocument": {"Version": VERSION, "Statement": [TRUST]},
                "Policies": [
                    {
                        "PolicyName": "log",
                        "PolicyDocument": {
                            "Version": VERSION,
                            "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}],
                        },
                    }
                ],
            },
        },
        "Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "from-stack"}},
        "Project": {
            "Type": "AWS::CodeBuild::Project",
            "Properties": {
                "Name": "from-stack",
                "ServiceRole": {"Fn::GetAtt": ["Role", "Arn"]},
                "Source": {"Type": "NO_SOURCE", "BuildSpec": "version: 0.2\nphases: {build: {commands: [true]}}\n"},
                "Artifacts": {"Type": "NO_ARTIFACTS"},
                "Environment": {
                    "Type": "LINUX_CONTAINER",
                    "ComputeType": "BUILD_GENERAL1_LARGE",
                    "Image": "aws/codebuild/standard:8.0",
                    "PrivilegedMode": True,
                },
                "TimeoutInMinutes": "30",
                "Tags": [{"Key": "managed-by", "Value": "trainyard"}],
            },
        },
    },
    "Outputs": {
        "Project": {"Value": {"Fn::GetAtt": ["Project", "Arn"]}},
        "Uri": {"Value": {"Fn::GetAtt": ["Repository", "RepositoryUri"]}},
    },
}


def test_stack(aws: Aws) -> None:
    """Its project builds, its repository takes a push, an update changes the project, and deleting it leaves nothing."""
    cloudformation, codebuild = aws.client("cloudformation"), aws.client("codebuild")
    cloudformation.create_stack(StackName="s", TemplateBody=yaml.safe_dump(TEMPLATE), Capabilities=["CAPABILITY_NAMED_IAM"])
    [stack] = cloudformation.describe_stacks(StackName="s")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert outputs == {
        "Project": "arn:aws:codebuild:us-east-1:123456789012:project/from-stack",
        "Uri": f"{aws.registries['us-east-1']}/from-stack",
    }
    build = ended(aws, start(aws, "from-stack"))
    assert build["buildStatus"] == "SUCCEEDED", [each.get("contexts") for each in build["phases"]]
    [repository] = aws.client("ecr").describe_repositories()["repositories"]
    assert Pusher(aws, repository["repositoryUri"]).push(b"layer", "v1")[0] == 201
    changed = yaml.safe_load(yaml.safe_dump(TEMPLATE))
    changed["Resources"]["Project"]["Properties"]["TimeoutInMinutes"] = 45
    cloudformation.update_stack(StackName="s", TemplateBody=yaml.safe_dump(changed), Capabilities=["CAPABILITY_NAMED_IAM"])
    [project] = codebuild.batch_get_projects(names=["from-stack"])["projects"]
    assert (project["timeoutInMinutes"], project["tags"]) == (45, [{"key": "managed-by", "value": "trainyard"}])
    aws.client("ecr").batch_delete_image(repositoryName="from-stack", imageIds=[{"imageTag": "v1"}])
    cloudformation.delete_stack(StackName="s")
    assert codebuild.list_projects()["projects"] == []
    assert aws.client("ecr").describe_repositories()["repositories"] == []


def test_bad_stack(aws: Aws) -> None:
    """A project that CodeBuild refuses fails the stack."""
    bad = yaml.safe_load(yaml.safe_dump(TEMPLATE))
    bad["Resources"]["Project"]["Properties"]["Environment"]["ComputeType"] = "HUGE"
    with pytest.raises(ClientError):
        aws.client("cloudformation").create_stack(StackName="s", TemplateBody=yaml.safe_dump(bad))
    assert aws.client("codebuild").list_projects()["projects"] == []


def test_bucket(aws: Aws) -> None:
    """A stack's bucket has what the template says; a property that is not handled fails the stack, and is never forgotten."""
    properties = {
        "BucketName": "from-stack",
        "VersioningConfiguration": {"Status": "Enabled"},
        "PublicAccessBlockConfiguration": {"BlockPublicAcls": True, "BlockPublicPolicy": True},
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "Id": "a",
                    "Status": "Enabled",
                    "ExpirationInDays": 30,
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                }
            ]
        },
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    template = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": properties}}}
    cloudformation, s3 = aws.client("cloudformation"), aws.client("s3")
    cloudformation.create_stack(StackName="s", TemplateBody=yaml.safe_dump(template))
    assert s3.get_bucket_versioning(Bucket="from-stack")["Status"] == "Enabled"
    assert s3.get_public_access_block(Bucket="from-stack")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] is True
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket="from-stack")["Rules"]
    assert (rule["Expiration"]["Days"], rule["AbortIncompleteMultipartUpload"]) == (30, {"DaysAfterInitiation": 1})
    assert s3.get_bucket_tagging(Bucket="from-stack")["TagSet"] == [{"Key": "a", "Value": "b"}]
    cloudformation.delete_stack(StackName="s")
    assert s3.list_buckets()["Buckets"] == []
    properties["WebsiteConfiguration"] = {"IndexDocument": "index.html"}
    with pytest.raises(ClientError, match="WebsiteConfiguration is not handled"):
        cloudformation.create_stack(StackName="t", TemplateBody=yaml.safe_dump(template))

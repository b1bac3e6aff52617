"""ECR at the wire: images and repositories, as the control plane and the registry both have them."""

from __future__ import annotations

import hashlib
import json

import pytest
from botocore.exceptions import ClientError

from tests.components.aws.pushing import Pusher, code_of, make_repository
from tests.components.aws.running import Aws


def test_push_is_described(aws: Aws) -> None:
    """What the registry took, DescribeImages, ListImages, BatchGetImage and the tag list name with the same digest."""
    pusher, ecr = Pusher(aws, make_repository(aws)), aws.client("ecr")
    status, headers, said = pusher.push(b"layer" * 100, "v1")
    assert status == 201, said
    digest = headers["docker-content-digest"]
    [detail] = ecr.describe_images(repositoryName="team/trainer")["imageDetails"]
    assert (detail["imageDigest"], detail["imageTags"]) == (digest, ["v1"])
    assert detail["imageSizeInBytes"] == 502  # the layer and the configuration
    assert ecr.list_images(repositoryName="team/trainer")["imageIds"] == [{"imageDigest": digest, "imageTag": "v1"}]
    [image] = ecr.batch_get_image(repositoryName="team/trainer", imageIds=[{"imageTag": "v1"}])["images"]
    assert f"sha256:{hashlib.sha256(image['imageManifest'].encode()).hexdigest()}" == digest
    assert json.loads(pusher.ask("GET", "tags/list")[2]) == {"name": "team/trainer", "tags": ["v1"]}


def test_retag_without_pull(aws: Aws) -> None:
    """PutImage gives a second tag to a manifest; the registry serves it under both."""
    pusher, ecr = Pusher(aws, make_repository(aws)), aws.client("ecr")
    pusher.push(b"layer", "build-1")
    [image] = ecr.batch_get_image(repositoryName="team/trainer", imageIds=[{"imageTag": "build-1"}])["images"]
    put = {"imageManifest": image["imageManifest"], "imageManifestMediaType": image["imageManifestMediaType"]}
    ecr.put_image(repositoryName="team/trainer", imageTag="v1", **put)
    assert pusher.ask("GET", "manifests/v1")[2] == image["imageManifest"].encode()
    with pytest.raises(ClientError) as raised:
        ecr.put_image(repositoryName="team/trainer", imageTag="v1", **put)
    assert code_of(raised) == "ImageAlreadyExistsException"


def test_immutable(aws: Aws) -> None:
    """Another image may not take an immutable tag, neither way, but takes one that a filter excludes."""
    filters = [{"filterType": "WILDCARD", "filter": "cache-*"}]
    uri = make_repository(aws, imageTagMutability="IMMUTABLE_WITH_EXCLUSION", imageTagMutabilityExclusionFilters=filters)
    pusher = Pusher(aws, uri)
    for tag in ("v1", "cache-1"):
        assert pusher.push(b"one", tag)[0] == 201
    status, _, said = pusher.push(b"two", "v1")
    error = json.loads(said)["errors"][0]
    assert (status, error["code"]) == (400, "TAG_INVALID")
    assert "'v1' already exists in the 'team/trainer' repository and cannot be overwritten" in error["message"]
    assert "immutable" in error["message"]
    assert pusher.push(b"two", "cache-1")[0] == 201
    manifest = pusher.manifest(b"three").decode()
    with pytest.raises(ClientError) as raised:
        aws.client("ecr").put_image(repositoryName="team/trainer", imageManifest=manifest, imageTag="v1")
    assert code_of(raised) == "ImageTagAlreadyExistsException"


def test_unknown_repository(aws: Aws) -> None:
    """A push to a repository that nobody made is refused, and makes none."""
    host = make_repository(aws).partition("/")[0]
    pusher = Pusher(aws, f"{host}/other")
    status, _, said = pusher.ask("POST", "blobs/uploads/")
    assert (status, json.loads(said)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
    assert [each["repositoryName"] for each in aws.client("ecr").describe_repositories()["repositories"]] == ["team/trainer"]


def test_regions(aws: Aws) -> None:
    """A repository of one region is not in another, whose registry is another host."""
    here, there = make_repository(aws), make_repository(aws, region="us-west-2")
    assert here.partition("/")[0] == aws.registries["us-east-1"] != there.partition("/")[0]
    Pusher(aws, here).push(b"layer", "v1")
    assert Pusher(aws, there, region="us-west-2").ask("GET", "manifests/v1")[0] == 404
    assert aws.client("ecr", "us-west-2").describe_images(repositoryName="team/trainer")["imageDetails"] == []


def test_delete(aws: Aws) -> None:
    """By tag the tag goes, and with the last one the image; a repository that is not empty stays; made again, it is empty."""
    ecr, uri = aws.client("ecr"), make_repository(aws)
    pusher = Pusher(aws, uri)
    for tag in ("a", "b"):
        pusher.push(b"layer", tag)
    ecr.batch_delete_image(repositoryName="team/trainer", imageIds=[{"imageTag": "a"}])
    assert [each["imageTags"] for each in ecr.describe_images(repositoryName="team/trainer")["imageDetails"]] == [["b"]]
    with pytest.raises(ClientError) as raised:
        ecr.delete_repository(repositoryName="team/trainer")
    assert code_of(raised) == "RepositoryNotEmptyException"
    ecr.batch_delete_image(repositoryName="team/trainer", imageIds=[{"imageTag": "b"}])
    assert pusher.ask("GET", "manifests/b")[0] == 404
    ecr.delete_repository(repositoryName="team/trainer")
    make_repository(aws)
    assert pusher.ask("HEAD", f"blobs/sha256:{hashlib.sha256(b'layer').hexdigest()}")[0] == 404


def test_lifecycle(aws: Aws) -> None:
    """A lifecycle policy is kept; one that is not valid is refused."""
    ecr = aws.client("ecr")
    make_repository(aws)
    rule = {
        "rulePriority": 1,
        "selection": {
            "tagStatus": "tagged",
            "tagPatternList": ["cache-*"],
            "countType": "imageCountMoreThan",
            "countNumber": 5,
        },
        "action": {"type": "expire"},
    }
    policy = json.dumps({"rules": [rule]})
    ecr.put_lifecycle_policy(repositoryName="team/trainer", lifecyclePolicyText=policy)
    assert json.loads(ecr.get_lifecycle_policy(repositoryName="team/trainer")["lifecyclePolicyText"])["rules"] == [rule]
    with pytest.raises(ClientError):
        ecr.put_lifecycle_policy(
            repositoryName="team/trainer", lifecyclePolicyText=policy.replace("imageCountMoreThan", "ever")
        )

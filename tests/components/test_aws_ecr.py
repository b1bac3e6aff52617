"""ECR at the wire: the control plane and the registry agree, and refuse as ECR does."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.components.aws.pushing import MANIFEST, Pusher
from tests.components.aws.running import Aws


def make(aws: Aws, name: str = "team/trainer", region: str | None = None, **options: Any) -> str:
    """A repository; its URI."""
    return str(aws.client("ecr", region).create_repository(repositoryName=name, **options)["repository"]["repositoryUri"])


def code_of(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return str(raised.value.response["Error"]["Code"])


def test_push_is_described(aws: Aws) -> None:
    """What the registry took, DescribeImages, ListImages, BatchGetImage and the tag list name with the same digest."""
    pusher, ecr = Pusher(aws, make(aws)), aws.client("ecr")
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
    pusher, ecr = Pusher(aws, make(aws)), aws.client("ecr")
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
    uri = make(aws, imageTagMutability="IMMUTABLE_WITH_EXCLUSION", imageTagMutabilityExclusionFilters=filters)
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
    host = make(aws).partition("/")[0]
    pusher = Pusher(aws, f"{host}/other")
    status, _, said = pusher.ask("POST", "blobs/uploads/")
    assert (status, json.loads(said)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
    assert [each["repositoryName"] for each in aws.client("ecr").describe_repositories()["repositories"]] == ["team/trainer"]


def test_missing_layer(aws: Aws) -> None:
    """A manifest whose layers were not pushed is refused, neither way leaves an image."""
    pusher = Pusher(aws, make(aws))
    manifest = pusher.manifest(b"never sent", upload=False)
    assert pusher.ask("PUT", "manifests/v1", manifest, MANIFEST)[0] == 400
    with pytest.raises(ClientError) as raised:
        aws.client("ecr").put_image(repositoryName="team/trainer", imageManifest=manifest.decode(), imageTag="v1")
    assert code_of(raised) == "LayersNotFoundException"
    assert aws.client("ecr").describe_images(repositoryName="team/trainer")["imageDetails"] == []


def test_token(aws: Aws) -> None:
    """No token, an unknown one and one that was good for three requests are refused; a new one holds."""
    uri = make(aws)
    aws.tokens(valid_requests=3, short_lived=1)
    pusher = Pusher(aws, uri)
    assert pusher.ask("GET", "/v2/", token=False)[1]["www-authenticate"].startswith("Basic ")
    pusher.blob(b"three requests")
    status, _, said = pusher.ask("GET", "/v2/")
    assert (status, json.loads(said)["errors"][0]["code"]) == (401, "DENIED")
    assert b"has expired" in said
    assert Pusher(aws, uri).push(b"layer", "v1")[0] == 201
    pusher.authorization = "Basic QVdTOm5vdC1hLXRva2Vu"
    assert pusher.ask("GET", "/v2/")[0] == 401


def test_token_seconds(aws: Aws) -> None:
    """A token expires at the time that it names."""
    uri = make(aws)
    aws.tokens(valid_s=1.5)
    pusher = Pusher(aws, uri)
    assert pusher.ask("GET", "/v2/")[0] == 200
    time.sleep(1.55)
    assert pusher.ask("GET", "/v2/")[0] == 401


def test_refused_body(aws: Aws) -> None:
    """A refusal that comes before the body is read is seen by the client, whose connection goes on."""
    pusher = Pusher(aws, f"{make(aws).partition('/')[0]}/other")
    connection = http.client.HTTPConnection(pusher.host, timeout=30)
    for _ in range(3):
        connection.request("POST", "/v2/other/blobs/uploads/", b"x" * 3_000_000, {"Authorization": pusher.authorization})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection"), len(answer.read()) > 0) == (404, None, True)
    connection.close()


def test_cut(aws: Aws) -> None:
    """A connection breaks after so many bytes of an upload; the upload is gone, and the next one passes."""
    pusher = Pusher(aws, make(aws))
    aws.cut(300_000, method="PATCH")
    with pytest.raises(OSError):
        pusher.blob(b"x" * 1_000_000)
    digest = pusher.blob(b"x" * 1_000_000)
    assert pusher.ask("HEAD", f"blobs/{digest}")[1]["content-length"] == "1000000"
    assert aws.control("cuts_done") == 1


def test_download(aws: Aws) -> None:
    """A layer is served from another host, which refuses the registry's token, and can be cut too."""
    pusher = Pusher(aws, make(aws))
    digest = pusher.blob(b"y" * 500_000)
    status, headers, _ = pusher.ask("GET", f"blobs/{digest}")
    assert status == 307
    assert pusher.ask("GET", headers["location"], token=False)[2] == b"y" * 500_000
    assert pusher.ask("GET", headers["location"])[0] == 400
    aws.cut(1000, method="GET", path="/_layers/")
    with pytest.raises(OSError):
        pusher.ask("GET", headers["location"], token=False)


def test_regions(aws: Aws) -> None:
    """A repository of one region is not in another, whose registry is another host."""
    here, there = make(aws), make(aws, region="us-west-2")
    assert here.partition("/")[0] == aws.registries["us-east-1"] != there.partition("/")[0]
    Pusher(aws, here).push(b"layer", "v1")
    assert Pusher(aws, there, region="us-west-2").ask("GET", "manifests/v1")[0] == 404
    assert aws.client("ecr", "us-west-2").describe_images(repositoryName="team/trainer")["imageDetails"] == []


def test_mount(aws: Aws) -> None:
    """A blob is mounted from another repository only where the account has switched that on."""
    source, target = make(aws, "source"), make(aws, "target")
    digest, pusher = Pusher(aws, source).blob(b"shared"), Pusher(aws, target)
    assert pusher.ask("POST", f"blobs/uploads/?mount={digest}&from=source")[0] == 202
    aws.client("ecr").put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    assert pusher.ask("POST", f"blobs/uploads/?mount={digest}&from=source")[0] == 201


def test_layer_parts(aws: Aws) -> None:
    """A layer in parts: a part out of order is refused with the last byte that counts, and the whole is in the registry."""
    ecr, pusher = aws.client("ecr"), Pusher(aws, make(aws))
    data, half = bytes(range(256)) * (40 << 10), 5 << 20
    name = {"repositoryName": "team/trainer"}
    name["uploadId"] = ecr.initiate_layer_upload(**name)["uploadId"]
    ecr.upload_layer_part(**name, partFirstByte=0, partLastByte=half - 1, layerPartBlob=data[:half])
    with pytest.raises(ClientError) as raised:
        ecr.upload_layer_part(**name, partFirstByte=half + 1, partLastByte=len(data) - 1, layerPartBlob=data[half + 1 :])
    assert code_of(raised) == "InvalidLayerPartException"
    assert raised.value.response["lastValidByteReceived"] == half - 1
    ecr.upload_layer_part(**name, partFirstByte=half, partLastByte=len(data) - 1, layerPartBlob=data[half:])
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with pytest.raises(ClientError) as raised:
        ecr.complete_layer_upload(**name, layerDigests=[f"sha256:{'0' * 64}"])
    assert code_of(raised) == "InvalidLayerException"
    assert ecr.complete_layer_upload(**name, layerDigests=[digest])["layerDigest"] == digest
    checked = ecr.batch_check_layer_availability(repositoryName="team/trainer", layerDigests=[digest, f"sha256:{'1' * 64}"])
    assert [each["layerAvailability"] for each in checked["layers"]] == ["AVAILABLE", "UNAVAILABLE"]
    assert pusher.ask("HEAD", f"blobs/{digest}")[0] == 200


def test_delete(aws: Aws) -> None:
    """By tag the tag goes, and with the last one the image; a repository that is not empty stays; made again, it is empty."""
    ecr, uri = aws.client("ecr"), make(aws)
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
    make(aws)
    assert pusher.ask("HEAD", f"blobs/sha256:{hashlib.sha256(b'layer').hexdigest()}")[0] == 404


def test_lifecycle(aws: Aws) -> None:
    """A lifecycle policy is kept; one that is not valid is refused."""
    ecr = aws.client("ecr")
    make(aws)
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


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo(aws: Aws, tmp_path: Path) -> None:
    """A real client pushes and pulls: login, chunked upload, redirect to the layer."""
    pusher = Pusher(aws, make(aws))
    pusher.push(b"layer of a real client", "v1")
    words = ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    credentials = f"AWS:{pusher.password}"
    image = f"docker://{pusher.host}/{pusher.name}"
    for source, target, flag in (
        (f"{image}:v1", f"dir:{tmp_path / 'image'}", "--src-creds"),
        (f"dir:{tmp_path / 'image'}", f"{image}:v2", "--dest-creds"),
    ):
        subprocess.run(["skopeo", *words, flag, credentials, source, target], check=True, timeout=60)
    [detail] = aws.client("ecr").describe_images(repositoryName="team/trainer")["imageDetails"]
    assert sorted(detail["imageTags"]) == ["v1", "v2"]

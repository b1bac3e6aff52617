"""ECR's registry at the wire: tokens, layers and manifests are taken and refused as ECR does."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import json
import subprocess
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.components.aws import needs
from tests.components.aws.pushing import MANIFEST, Pusher, code_of, make_repository
from tests.components.aws.running import Aws


def test_missing_layer(aws: Aws) -> None:
    """A manifest whose layers were not pushed is refused, neither way leaves an image."""
    pusher = Pusher(aws, make_repository(aws))
    manifest = pusher.manifest(b"never sent", upload=False)
    assert pusher.ask("PUT", "manifests/v1", manifest, MANIFEST)[0] == 400
    with pytest.raises(ClientError) as raised:
        aws.client("ecr").put_image(repositoryName="team/trainer", imageManifest=manifest.decode(), imageTag="v1")
    assert code_of(raised) == "LayersNotFoundException"
    assert aws.client("ecr").describe_images(repositoryName="team/trainer")["imageDetails"] == []


def test_a_layer_that_is_pushed_once_more_is_there_all_the_time(aws: Aws) -> None:
    """BuildKit pushes an image and its cache at once. docker-registry alone refuses some of these manifests."""
    uri = make_repository(aws)
    pusher = Pusher(aws, uri)
    manifest, layer = pusher.manifest(b"one layer"), pusher.blob(b"one layer")
    done = threading.Event()

    def push_again() -> None:
        while not done.is_set():
            Pusher(aws, uri).blob(b"one layer")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        others = [pool.submit(push_again) for _ in range(2)]
        try:
            seen = [
                pusher.ask(*words)[0]
                for _ in range(150)
                for words in [("PUT", "manifests/latest", manifest, MANIFEST), ("HEAD", f"blobs/{layer}")]
            ]
        finally:
            done.set()
    assert seen == [201, 200] * 150 and all(each.exception() is None for each in others)


def test_token(aws: Aws) -> None:
    """No token, an unknown one and one that was good for three requests are refused; a new one holds."""
    uri = make_repository(aws)
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
    uri = make_repository(aws)
    aws.tokens(valid_s=1.5)
    pusher = Pusher(aws, uri)
    assert pusher.ask("GET", "/v2/")[0] == 200
    time.sleep(1.55)
    assert pusher.ask("GET", "/v2/")[0] == 401


def test_refused_body(aws: Aws) -> None:
    """A refusal that comes before the body is read is seen by the client, whose connection goes on."""
    pusher = Pusher(aws, f"{make_repository(aws).partition('/')[0]}/other")
    connection = http.client.HTTPConnection(pusher.host, timeout=30)
    for _ in range(3):
        connection.request("POST", "/v2/other/blobs/uploads/", b"x" * 3_000_000, {"Authorization": pusher.authorization})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection"), len(answer.read()) > 0) == (404, None, True)
    connection.close()


def test_cut(aws: Aws) -> None:
    """A connection breaks after so many bytes of an upload; the upload is gone, and the next one passes."""
    pusher = Pusher(aws, make_repository(aws))
    aws.cut(300_000, method="PATCH")
    with pytest.raises(OSError):
        pusher.blob(b"x" * 1_000_000)
    digest = pusher.blob(b"x" * 1_000_000)
    assert pusher.ask("HEAD", f"blobs/{digest}")[1]["content-length"] == "1000000"
    assert aws.control("cuts_done") == 1


def test_download(aws: Aws) -> None:
    """A layer is served from another host, which refuses the registry's token, and can be cut too."""
    pusher = Pusher(aws, make_repository(aws))
    digest = pusher.blob(b"y" * 500_000)
    status, headers, _ = pusher.ask("GET", f"blobs/{digest}")
    assert status == 307
    assert pusher.ask("GET", headers["location"], token=False)[2] == b"y" * 500_000
    assert pusher.ask("GET", headers["location"])[0] == 400
    aws.cut(1000, method="GET", path="/_layers/")
    with pytest.raises(OSError):
        pusher.ask("GET", headers["location"], token=False)


def test_mount(aws: Aws) -> None:
    """A blob is mounted from another repository only where the account has switched that on."""
    source, target = make_repository(aws, "source"), make_repository(aws, "target")
    digest, pusher = Pusher(aws, source).blob(b"shared"), Pusher(aws, target)
    assert pusher.ask("POST", f"blobs/uploads/?mount={digest}&from=source")[0] == 202
    aws.client("ecr").put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    assert pusher.ask("POST", f"blobs/uploads/?mount={digest}&from=source")[0] == 201


def test_layer_parts(aws: Aws) -> None:
    """A layer in parts: a part out of order is refused with the last byte that counts, and the whole is in the registry."""
    ecr, pusher = aws.client("ecr"), Pusher(aws, make_repository(aws))
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


@pytest.fixture
def skopeo() -> str:
    if reason := needs.reason_against({"skopeo": "skopeo"}):
        pytest.skip(reason)
    return "skopeo"


def test_skopeo(aws: Aws, skopeo: str, tmp_path: Path) -> None:
    """A real client pushes and pulls: login, chunked upload, redirect to the layer."""
    pusher = Pusher(aws, make_repository(aws))
    pusher.push(b"layer of a real client", "v1")
    words = ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    credentials = f"AWS:{pusher.password}"
    image = f"docker://{pusher.host}/{pusher.name}"
    for source, target, flag in (
        (f"{image}:v1", f"dir:{tmp_path / 'image'}", "--src-creds"),
        (f"dir:{tmp_path / 'image'}", f"{image}:v2", "--dest-creds"),
    ):
        subprocess.run([skopeo, *words, flag, credentials, source, target], check=True, timeout=60)
    [detail] = aws.client("ecr").describe_images(repositoryName="team/trainer")["imageDetails"]
    assert sorted(detail["imageTags"]) == ["v1", "v2"]

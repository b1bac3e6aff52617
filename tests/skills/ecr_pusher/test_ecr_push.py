"""An image goes into ECR as it is, once, under its tags; each claim asked of the registry by boto3."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Files, Made, docker_archive, index, link_equal_layers, newer_docker_archive, oci, two_platforms

WAYS = ("registry", "api")


def manifest_in(pusher: Pusher, name: str, tag: str) -> bytes:
    got = pusher.ecr().batch_get_image(
        repositoryName=name, imageIds=[{"imageTag": tag}], acceptedMediaTypes=["application/vnd.oci.image.manifest.v1+json"]
    )
    return str(got["images"][0]["imageManifest"]).encode()


@pytest.mark.parametrize("via", WAYS)
def test_a_push_keeps_the_bytes(pusher: Pusher, repository: str, image: Made, via: str) -> None:
    """The registry's manifest is the archive's, byte for byte, and the answer has its digest; the same call again sends nothing."""
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1.0.0", "--via", via)
    assert (done.code, done.data["digest"]) == (0, image.digest), done
    assert hashlib.sha256(manifest_in(pusher, repository, "1.0.0")).hexdigest() == image.digest[7:]
    assert pusher.tagged(repository) == {"1.0.0": image.digest}
    assert done.data["reference"] == f"{pusher.aws.registries['us-east-1']}/{repository}@{image.digest}"
    assert done.data["layers"] == {"total": 3, "sent": 3, "present": 0, "bytes_sent": done.data["size_bytes"]}
    assert done.data["regions"][0]["verified"] is True and done.document["changed"] == [
        f"{pusher.aws.registries['us-east-1']}/{repository}:1.0.0"
    ]
    assert "layer 1/3" in done.stderr and ": sent" in done.stderr

    again = pusher.call("push", image.word, "--repository", repository, "--tag", "1.0.0", "--via", via)
    assert (again.code, again.document["changed"]) == (0, [])
    assert again.data["layers"] == {"total": 3, "sent": 0, "present": 3, "bytes_sent": 0}
    assert pusher.requests("ecr:PutImage") == 1, (
        "ECR refuses an immutable tag even to the image that has it (moby/buildkit#3776)"
    )


def test_a_folder_and_a_tar_are_one_image(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    folder = oci(tmp_path / "layout", [b"same"])
    tar = oci(tmp_path / "layout.tar", [b"same"])
    assert pusher.call("push", folder.word, "--repository", repository, "--tag", "a").data["digest"] == tar.digest
    assert pusher.call("push", tar.word, "--repository", repository, "--tag", "b").data["layers"]["sent"] == 0


def test_a_table_shows_the_whole_reference(pusher: Pusher, repository: str, image: Made) -> None:
    """It is copied from there."""
    process = pusher.start("push", image.word, "--repository", repository, "--tag", "1", "--format", "table")
    said, _ = process.communicate(timeout=60)
    reference = f"{pusher.aws.registries['us-east-1']}/{repository}@{image.digest}"
    assert f"\nreference   {reference}\n" in said


def test_an_index_goes_with_its_images(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Both platforms are pushed by digest before the index that names them."""
    made = two_platforms(tmp_path / "both.tar")
    done = pusher.call("push", made.word, "--repository", repository, "--tag", "1")
    assert (done.code, done.data["digest"]) == (0, made.digest), done
    assert done.data["platforms"] == ["linux/amd64", "linux/arm64"]
    assert pusher.call("verify", f"{repository}:1", "--platform", "linux/arm64").code == 0
    assert pusher.call("verify", f"{repository}:1", "--platform", "linux/s390x").code == 1


def test_one_of_several_is_chosen(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """PATH@DIGEST of a layout, PATH@NAME:TAG of an archive of Docker; without it exit 2 names what there is."""
    one, other = oci(tmp_path / "one", [b"one"]), oci(tmp_path / "other", [b"other"])
    shutil.copytree(other.path / "blobs", one.path / "blobs", dirs_exist_ok=True)
    both = [json.loads((made.path / "index.json").read_text())["manifests"][0] for made in (one, other)]
    (one.path / "index.json").write_bytes(index(*both))
    words = ("--repository", repository, "--tag", "1", "--dry-run")
    assert pusher.call("push", f"{one.word}@{other.digest}", *words).data["digest"] == other.digest
    unclear = pusher.call("push", one.word, *words)
    assert unclear.code == 2 and other.digest in unclear.error["message"], unclear
    assert pusher.call("push", f"{one.word}@sha256:{'0' * 64}", *words).code == 3

    def two_names(files: Files) -> None:
        entry = json.loads(files["manifest.json"])[0]
        files["manifest.json"] = json.dumps([entry, entry | {"RepoTags": ["other:1"]}]).encode()

    saved = docker_archive(tmp_path / "saved.tar", [b"content"], two_names)
    assert pusher.call("push", f"docker-archive:{saved.path}@other:1", *words).code == 0
    assert pusher.call("push", f"docker-archive:{saved.path}", *words).code == 2
    assert pusher.call("push", f"docker-archive:{saved.path}@nobody:1", *words).code == 3


def test_a_docker_archive_has_one_digest(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Layers are compressed to the same bytes each time, in another order of reading too."""
    contents = [os.urandom(100_000) + b"text " * 500_000, b"small", b"small"]
    made = docker_archive(tmp_path / "saved.tar", contents)
    first = pusher.call("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1")
    assert first.code == 0, first
    assert first.data["layers"]["total"] == 3, "two layers, one of them twice, and the config"
    second = pusher.call("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "2")
    assert (second.code, second.data["digest"]) == (0, first.data["digest"])
    assert second.data["layers"]["sent"] == 0
    assert list(pusher.scratch.iterdir()) == []
    assert pusher.call("verify", f"{repository}:1", "--digest", first.data["digest"]).code == 0


def test_archives_of_all_dockers_are_one_image(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Plain layers of Docker 25's layout are compressed as those of Docker 20's, and equal layers that are links are found."""
    old = docker_archive(tmp_path / "old.tar", [b"one", b"two"])
    new = newer_docker_archive(tmp_path / "new.tar", [b"one", b"two"])
    words = ("--repository", repository, "--tag")
    first = pusher.call("push", f"docker-archive:{old.path}", *words, "1")
    second = pusher.call("push", f"docker-archive:{new.path}", *words, "2")
    assert (first.code, second.code) == (0, 0) and first.data["digest"] == second.data["digest"], second
    link_equal_layers(tmp_path / "linked.tar")
    linked = pusher.call("push", f"docker-archive:{tmp_path}/linked.tar", *words, "3")
    assert linked.code == 0 and linked.data["layers"]["total"] == 2, linked


def test_two_regions_have_one_digest(pusher: Pusher, image: Made) -> None:
    regions = ("--region", "us-east-1", "--region", "us-west-2")
    done = pusher.call("push", image.word, "--repository", "net", "--create", "--tag", "1", *regions)
    assert done.code == 0, done
    assert [(each["region"], each["digest"], each["verified"]) for each in done.data["regions"]] == [
        ("us-east-1", image.digest, True),
        ("us-west-2", image.digest, True),
    ]
    assert pusher.tagged("net", "us-west-2") == {"1": image.digest}
    for region, check in zip(done.data["regions"], done.document["checks"], strict=True):
        assert region["uri"] in check["summary"], "a table cuts it short where the regions are listed"
    assert f"verify net:1 --digest {image.digest} --region us-east-1" in done.document["next"][0]
    assert pusher.call("verify", "net:1", "--digest", image.digest, *regions).code == 0


def test_a_region_that_fails_is_named(pusher: Pusher, repository: str, image: Made) -> None:
    """Exit 1, the other has the image, and the same call with --create completes it."""
    words = ("push", image.word, "--repository", repository, "--tag", "1", "--region", "us-west-2", "--region", "us-east-1")
    done = pusher.call(*words)
    assert done.code == 1, done
    west, east = done.data["regions"]
    assert west["error"]["code"] == "not-found" and east["verified"] is True
    assert [check["status"] for check in done.document["checks"]][:2] == ["fail", "pass"]
    again = pusher.call(*words, "--create")
    assert again.code == 0, again
    assert again.data["layers"] == {"total": 6, "sent": 3, "present": 3, "bytes_sent": again.data["size_bytes"]}


def test_a_dry_run_changes_nothing(pusher: Pusher, image: Made) -> None:
    done = pusher.call("push", image.word, "--repository", "net", "--create", "--tag", "1", "--dry-run")
    assert done.code == 0 and done.document["changed"] == []
    row = done.data["regions"][0]
    assert done.data["layers"] == {"total": 3, "sent": 0, "present": 0, "bytes_sent": 0}
    assert row["would_create"]["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION" and len(row["would_send"]) == 3
    assert pusher.ecr().describe_repositories()["repositories"] == []
    assert pusher.call("ensure-repo", "net").code == 0
    sent = pusher.call("push", image.word, "--repository", "net", "--tag", "1", "--dry-run").data["regions"][0]
    assert (len(sent["would_send"]), sent["would_tag"]) == (3, ["1"])
    assert pusher.tagged("net") == {} and pusher.requests("ecr:InitiateLayerUpload") == 0
    pusher.call("push", image.word, "--repository", "net", "--tag", "1")
    there = pusher.call("push", image.word, "--repository", "net", "--tag", "2", "--dry-run")
    assert there.data["layers"] == {"total": 3, "sent": 0, "present": 3, "bytes_sent": 0}


def test_the_hint_of_two_regions_names_both(pusher: Pusher, image: Made) -> None:
    words = ("push", image.word, "--repository", "net", "--tag", "1", "--region", "us-east-1", "--region", "us-west-2")
    error = pusher.call(*words).error
    assert error["message"].startswith("both regions failed")
    assert "ensure-repo net --region us-east-1 --region us-west-2" in error["hint"]

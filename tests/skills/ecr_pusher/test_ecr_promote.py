"""Promotion gives another tag without a pull, and takes the build tag only from an image that has another; verification finds what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Made, oci


@pytest.fixture
def built(pusher: Pusher, repository: str, image: Made) -> str:
    """An image under build-1."""
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "build-1").code == 0
    return repository


def test_a_promotion_moves_the_tag(pusher: Pusher, built: str, image: Made) -> None:
    """No layer is read or sent; the same call again finds its work done."""
    before = pusher.requests("ecr:InitiateLayerUpload")
    words = ("promote", built, "--from", "build-1", "--tag", "1.0.0")
    done = pusher.call(*words)
    assert (done.code, done.data["digest"]) == (0, image.digest), done
    assert pusher.tagged(built) == {"1.0.0": image.digest} and len(done.document["changed"]) == 2
    assert done.data["reference"].endswith(f"/{built}@{image.digest}")
    assert pusher.requests("ecr:GetDownloadUrlForLayer") == 0 and pusher.requests("ecr:InitiateLayerUpload") == before
    again = pusher.call(*words)
    assert (again.code, again.data["digest"], again.document["changed"]) == (0, image.digest, []), again


def test_a_promotion_by_digest_takes_no_tag(pusher: Pusher, built: str, image: Made) -> None:
    done = pusher.call("promote", built, "--from", image.digest, "--tag", "1.0.0", "--tag", "stable")
    assert done.code == 0 and set(pusher.tagged(built)) == {"build-1", "1.0.0", "stable"}
    assert "build-1" in done.check("tag.build")["summary"], "a rule would delete the image with that tag"
    kept = pusher.call("promote", built, "--from", "build-1", "--tag", "2", "--keep")
    assert kept.code == 0 and "build-1" in pusher.tagged(built)
    plain = pusher.call("promote", built, "--from", "1.0.0", "--tag", "3")
    assert plain.code == 0 and "1.0.0" in pusher.tagged(built), "only a build tag is taken"


def test_a_taken_tag_keeps_both(pusher: Pusher, built: str, image: Made, tmp_path: Path) -> None:
    """Exit 5, and the build tag stays."""
    other = oci(tmp_path / "other.tar", [b"other"])
    pusher.call("push", other.word, "--repository", built, "--tag", "1.0.0")
    done = pusher.call("promote", built, "--from", "build-1", "--tag", "1.0.0")
    assert (done.code, done.error["code"]) == (5, "conflict"), done
    assert pusher.tagged(built) == {"1.0.0": other.digest, "build-1": image.digest}


def test_a_tag_that_moved_is_not_promoted(pusher: Pusher, built: str, image: Made) -> None:
    """Another image than the one that was tested: exit 5, and nothing is tagged. Control: the right digest."""
    words = ("promote", built, "--from", "build-1", "--tag", "1.0.0", "--digest")
    moved = pusher.call(*words, "sha256:" + "0" * 64)
    assert (moved.code, moved.error["code"], pusher.tagged(built)) == (5, "conflict", {"build-1": image.digest}), moved
    assert pusher.call(*words, image.digest).code == 0


def test_a_dry_promotion_changes_nothing(pusher: Pusher, built: str, image: Made) -> None:
    done = pusher.call("promote", built, "--from", "build-1", "--tag-strategy", "semver", "--dry-run")
    row = done.data["regions"][0]
    assert done.code == 0 and (row["would_tag"], row["would_untag"]) == (["0.0.1"], ["build-1"])
    assert pusher.tagged(built) == {"build-1": image.digest}


def test_an_unknown_image_is_exit_3(pusher: Pusher, built: str) -> None:
    for source in ("build-2", "1.0.0", "sha256:" + "0" * 64):
        assert pusher.call("promote", built, "--from", source, "--tag", "9").code == 3
    assert pusher.call("verify", f"{built}:9").code == 3


def test_a_whole_image_is_verified(pusher: Pusher, built: str, image: Made) -> None:
    done = pusher.call("verify", f"{built}:build-1", "--digest", image.digest, "--platform", "linux/amd64")
    assert done.code == 0 and {check["status"] for check in done.document["checks"]} == {"pass"}, done
    host = pusher.aws.registries["us-east-1"]
    assert pusher.call("verify", f"{host}/{built}:build-1@{image.digest}").code == 0
    wrong = pusher.call("verify", f"{built}:build-1", "--digest", "sha256:" + "0" * 64)
    assert wrong.code == 1 and wrong.check("verify.digest")["status"] == "fail"
    assert pusher.call("verify", f"other.example/{built}:build-1").code == 2


def test_a_missing_layer_is_found(pusher: Pusher, built: str, image: Made) -> None:
    """Exit 1 names it, and the push that puts it back sends nothing else."""
    layer = image.layers[0]
    pusher.forget_blob(layer)
    done = pusher.call("verify", f"{built}:build-1")
    assert done.code == 1 and layer in done.check("verify.layers")["evidence"], done
    again = pusher.call("push", image.word, "--repository", built, "--tag", "build-1")
    assert (again.code, again.data["layers"]["sent"]) == (0, 1), again
    assert pusher.call("verify", f"{built}:build-1").code == 0


def test_regions_that_differ_are_found(pusher: Pusher, built: str, tmp_path: Path) -> None:
    other = oci(tmp_path / "other.tar", [b"other"])
    west = ("--region", "us-west-2")
    assert pusher.call("push", other.word, "--repository", built, "--tag", "build-1", "--create", *west).code == 0
    done = pusher.call("verify", f"{built}:build-1", "--region", "us-east-1", *west)
    assert done.code == 1 and done.check("verify.regions")["status"] == "fail"

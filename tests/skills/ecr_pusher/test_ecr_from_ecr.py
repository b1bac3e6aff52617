"""An image that lies in ECR goes on into other regions and repositories: `push ecr:REFERENCE`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Made, oci, two_platforms
from test_ecr_permission import LAYERS, LOOK, policy

from tests.components.aws.world import ACCOUNT

BOTH = ("--region", "us-east-1", "--region", "us-west-2")
WEST = ("--region", "us-west-2", "--create")


@pytest.fixture
def built(pusher: Pusher, repository: str, image: Made) -> Made:
    """The image in us-east-1, under build-1."""
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "build-1").code == 0
    return image


@pytest.mark.parametrize("via", ["registry", "api"])
def test_one_digest_in_every_region(pusher: Pusher, repository: str, built: Made, via: str) -> None:
    """By `data.reference`: where it lies only the tag is set, and the other region gets the layers; again, and nothing is sent."""
    words = ("--repository", repository, "--tag", "1.0.0", *BOTH, "--create", "--via", via)
    word = f"ecr:{pusher.aws.registries['us-east-1']}/{repository}@{built.digest}"
    done = pusher.call("push", word, *words)
    assert (done.code, done.data["digest"]) == (0, built.digest), done
    assert [each["verified"] for each in done.data["regions"]] == [True, True]
    assert done.data["layers"] == {"total": 6, "sent": 3, "present": 3, "bytes_sent": done.data["size_bytes"]}
    assert pusher.tagged(repository, "us-west-2") == {"1.0.0": built.digest}
    assert pusher.call("verify", f"{repository}:1.0.0", "--digest", built.digest, *BOTH).code == 0
    assert pusher.call("push", word, *words).data["layers"]["sent"] == 0
    assert list(pusher.scratch.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("ecr:team/net:build-1", "--from-region", "us-east-1"),
        ("ecr:123456789012.dkr.ecr.us-east-1.amazonaws.com/team/net:build-1",),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/net:build-1",),
    ],
)
def test_the_source_region_is_the_hosts_or_a_word(pusher: Pusher, built: Made, words: tuple[str, ...]) -> None:
    """Also by a plain name that no local Docker has. The default region is the other one here."""
    done = pusher.call(
        "push", *words, "--repository", "net", "--tag", "1", *WEST, AWS_REGION="us-west-2", DOCKER_HOST="", PATH=""
    )
    assert (done.code, done.data["digest"]) == (0, built.digest), done
    assert pusher.tagged("net", "us-west-2") == {"1": built.digest}


def test_an_index_goes_with_its_children(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    made = two_platforms(tmp_path / "both.tar")
    assert pusher.call("push", made.word, "--repository", repository, "--tag", "1").code == 0
    done = pusher.call("push", f"ecr:{repository}:1", "--repository", repository, "--tag", "1", *WEST)
    assert (done.code, done.data["digest"]) == (0, made.digest), done
    assert done.data["platforms"] == ["linux/amd64", "linux/arm64"]
    assert pusher.call("verify", f"{repository}:1", "--region", "us-west-2", "--platform", "linux/arm64").code == 0


def test_a_cut_layer_goes_on_at_its_byte(pusher: Pusher, repository: str, built: Made) -> None:
    """The read breaks twice in the layer's middle: the same upload gets the rest, once."""
    pusher.aws.cut(1_000_000, method="GET", path=f"_layers/.*{built.layers[0][7:]}", times=2, stall_s=0.5)
    done = pusher.call("push", f"ecr:{repository}:build-1", "--repository", repository, "--tag", "1", *WEST)
    assert (done.code, done.data["digest"], done.data["layers"]["sent"]) == (0, built.digest, 3), done
    first, second = map(int, re.findall(r"goes on at byte (\d+)", done.stderr))
    assert 0 < first < second < 3_000_000
    assert pusher.requests("ecr:InitiateLayerUpload") == 6, "three of the first push, and three of this one"


def test_a_source_that_always_breaks_ends(pusher: Pusher, repository: str, built: Made) -> None:
    """Exit 8, no tag, and the same call goes on."""
    pusher.aws.cut(0, method="GET", path=f"_layers/.*{built.layers[0][7:]}", times=2)
    words = ("push", f"ecr:{repository}:build-1", "--repository", repository, "--tag", "1", *WEST, "--tries", "2")
    done = pusher.call(*words)
    assert (done.code, done.error["code"], done.error["retryable"]) == (8, "unreachable", True), done
    assert pusher.tagged(repository, "us-west-2") == {}
    assert pusher.call(*words).code == 0


def test_a_source_that_stalls_ends_at_the_deadline(pusher: Pusher, repository: str, built: Made) -> None:
    pusher.aws.cut(1_000_000, method="GET", path=f"_layers/.*{built.layers[0][7:]}", stall_s=3)
    words = ("push", f"ecr:{repository}:build-1", "--repository", repository, "--tag", "1", *WEST)
    done = pusher.call(*words, "--timeout", "2")
    assert (done.code, done.error["code"]) == (7, "timeout"), done
    assert pusher.call(*words).code == 0


def test_wrong_bytes_never_arrive(pusher: Pusher, repository: str, built: Made) -> None:
    """A layer of the right size and another digest: it is refused before its last byte, and there is no tag."""
    pusher.spoil_blob(built.layers[0])
    done = pusher.call("push", f"ecr:{repository}:build-1", "--repository", repository, "--tag", "1", *WEST)
    assert done.code == 2 and built.layers[0] in done.error["message"] and "other bytes" in done.error["message"], done
    assert pusher.tagged(repository, "us-west-2") == {}
    looked = pusher.ecr("us-west-2").batch_check_layer_availability(repositoryName=repository, layerDigests=[built.layers[0]])
    assert looked["layers"][0]["layerAvailability"] == "UNAVAILABLE"


def test_a_tag_that_is_taken_in_one_region(pusher: Pusher, repository: str, built: Made, tmp_path: Path) -> None:
    """Exit 1: that region keeps its image, the other has this one."""
    other = oci(tmp_path / "other.tar", [b"other"])
    assert pusher.call("push", other.word, "--repository", repository, "--tag", "1", *WEST).code == 0
    done = pusher.call("push", f"ecr:{repository}:build-1", "--repository", repository, "--tag", "1", *BOTH)
    assert done.code == 1 and done.data["regions"][1]["error"]["code"] == "conflict", done
    assert pusher.tagged(repository)["1"] == built.digest and pusher.tagged(repository, "us-west-2")["1"] == other.digest


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("ecr:team/net:nobody", 3, "has no image nobody"),
        (f"ecr:team/net@sha256:{'0' * 64}", 3, "has no image sha256:0"),
        ("ecr:team/other:1", 3, "no repository team/other in us-east-1"),
        ("ecr:team/net", 2, "no tag and no digest"),
        ("ecr:docker.io/library/net:1", 2, "is not the host"),
        ("ecr:123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/net:1", 2, "by --from-region"),
        ("net:dev", 2, "--from-region is for an image in ECR"),
    ],
)
def test_a_source_that_is_missing(pusher: Pusher, repository: str, word: str, code: int, said: str) -> None:
    """And nothing is made."""
    from_region = ("--from-region", "us-east-1")
    done = pusher.call("push", word, "--repository", "net", "--tag", "1", *WEST, *from_region)
    assert done.code == code and said in done.error["message"], done
    assert pusher.ecr("us-west-2").describe_repositories()["repositories"] == []


def test_a_source_that_is_not_whole(pusher: Pusher, repository: str, built: Made) -> None:
    pusher.forget_blob(built.layers[0])
    done = pusher.call("push", f"ecr:{repository}:build-1", "--repository", repository, "--tag", "1", *WEST)
    assert done.code == 3 and "is not whole" in done.error["message"] and built.layers[0] in done.error["message"], done


@pytest.mark.parametrize("mounts", [True, False])
def test_a_repository_of_the_same_region_mounts(pusher: Pusher, repository: str, built: Made, mounts: bool) -> None:
    """Where the account has it switched on; else the layers go through here."""
    pusher.ecr().put_account_setting(name="BLOB_MOUNTING", value="ENABLED" if mounts else "DISABLED")
    done = pusher.call("push", f"ecr:{repository}:build-1", "--repository", "copy", "--tag", "1", "--create")
    assert (done.code, done.data["digest"]) == (0, built.digest), done
    assert done.data["layers"]["sent"] == (0 if mounts else 3)
    assert done.stderr.count(f"present (mounted from {repository})") == (3 if mounts else 0)


def test_what_it_needs_in_the_source_region(pusher: Pusher, repository: str, built: Made) -> None:
    """There it only reads; each is needed, and no other call is made."""
    source = {"Effect": "Allow", "Resource": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/{repository}"}
    target = json.loads(json.dumps(policy((*LOOK, *LAYERS), token=True)).replace("ecr:*:", "ecr:us-west-2:"))
    assert pusher.call("ensure-repo", repository, "--region", "us-west-2").code == 0
    words = ("push", f"ecr:{repository}:build-1", "--repository", repository, "--region", "us-west-2", "--tag", "1")
    reads = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    for left_out in (*reads, ""):
        granted = source | {"Action": [each for each in reads if each != left_out]}
        user = pusher.aws.user(target | {"Statement": [*target["Statement"], granted]}, f"without-{left_out[4:] or 'nothing'}")
        done = pusher.call(*words, **user)
        if left_out:
            assert done.code == 4 and f'"{left_out}"' in done.error["hint"] and "us-east-1" in done.error["hint"], done
    assert done.code == 0, done
    made = {each["action"] for each in pusher.aws.actions(user) if "us-east-1" in each["resource"]}
    assert made == set(reads)


@pytest.mark.parametrize("made", [True, False])
def test_the_hint_of_promote_is_the_call(pusher: Pusher, repository: str, built: Made, made: bool) -> None:
    """An image of another region, whether this one has the repository or not."""
    if made:
        assert pusher.call("ensure-repo", repository, "--region", "us-west-2").code == 0
    words = ("promote", repository, "--from", f"build-1@{built.digest}", "--tag", "1", "--region", "us-west-2")
    hint = pusher.call(*words).error["hint"]
    said = hint.partition("push_image.py push ")[2].replace("REGION", "us-east-1").replace("TAG", "1")
    assert pusher.call("push", *said.split()).code == 0, hint
    assert pusher.tagged(repository, "us-west-2") == {"1": built.digest}

"""Pushes that break: cut connections, an expired sign-in, kills, full disks. The same call, or the same push, completes them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_cutting import cutting
from ecr_made_images import Made, docker_archive, oci


@pytest.mark.parametrize("cuts", [1, 2])
def test_a_cut_layer_begins_again(pusher: Pusher, repository: str, image: Made, cuts: int) -> None:
    """The registry drops the upload; the layer is sent from its first byte, and only that one."""
    pusher.aws.cut(1_000_000, method="PATCH", skip=1, times=cuts)  # the config is the first
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1", "--jobs", "1")
    assert (done.code, done.data["digest"]) == (0, image.digest), done
    assert done.stderr.count("broken") == cuts and pusher.aws.control("cuts_done") == cuts
    assert pusher.tagged(repository) == {"1": image.digest}


def test_a_connection_that_always_breaks_ends(pusher: Pusher, repository: str, image: Made) -> None:
    """Exit 8 after the tries, nothing is tagged, and the same call goes on: the config is there."""
    pusher.aws.cut(1_000_000, method="PATCH", skip=1, times=3)
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1", "--jobs", "1", "--tries", "3")
    assert (done.code, done.error["code"], done.error["retryable"]) == (8, "unreachable", True), done
    assert pusher.tagged(repository) == {}
    again = pusher.call("push", image.word, "--repository", repository, "--tag", "1")
    assert again.code == 0 and (again.data["layers"]["sent"], again.data["layers"]["present"]) == (2, 1), again


def test_a_busy_registry_is_asked_again(pusher: Pusher, repository: str, image: Made) -> None:
    """Each kind of request is throttled, fails or breaks off once: the push completes, and a layer whose answer was lost is not sent again."""
    busy = {
        "BatchCheckLayerAvailability": ("TOOMANYREQUESTS", 429),
        "InitiateLayerUpload": ("UNAVAILABLE", 503),
        "UploadLayerPart": ("TOOMANYREQUESTS", 429),
        "CompleteLayerUpload": ("HANG_UP", 500),
        "PutImage": ("UNKNOWN", 500),
        "BatchGetImage": ("HANG_UP", 429),
    }
    for action, (code, status) in busy.items():
        pusher.aws.fail(f"ecr:{action}", code, status=status)
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1", "--jobs", "1")
    assert (done.code, done.data["layers"]["sent"]) == (0, 3), done
    assert pusher.tagged(repository) == {"1": image.digest}
    refused = [each["action"] for each in pusher.aws.actions()]
    assert refused.count("ecr:InitiateLayerUpload") == 5, "one for each blob, and for the two that were broken"


def test_a_lost_answer_is_no_second_upload(pusher: Pusher, repository: str, image: Made) -> None:
    """The connection breaks in the manifest: it is put again, and the blobs are not."""
    pusher.aws.cut(10, method="PUT", path="manifests")
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1")
    assert (done.code, done.data["layers"]["sent"]) == (0, 3), done
    assert pusher.requests("ecr:InitiateLayerUpload") == 3


def test_a_part_goes_on_where_it_broke(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """The connection breaks in the second part of three: with the layer API that part is sent again, and no other."""
    big = oci(tmp_path / "big.tar", [os.urandom(25_000_000)])
    words = ("push", big.word, "--repository", repository, "--tag", "1", "--via", "api", "--jobs", "1")
    with cutting(pusher.aws.endpoint, after_bytes=20_000_000) as proxy:
        done = pusher.call(*words, AWS_ENDPOINT_URL=proxy.url)
    assert (done.code, done.data["digest"], proxy.cuts) == (0, big.digest, 1), done
    assert pusher.requests("ecr:InitiateLayerUpload") == 2
    assert pusher.requests("ecr:UploadLayerPart") == 4, "10 + 10 + 5 MB, and the config"


@pytest.mark.parametrize(("requests", "status"), [(1, 403), (4, 401)])
def test_an_expired_token_is_renewed(pusher: Pusher, repository: str, image: Made, requests: int, status: int) -> None:
    """It expires after so many requests, in the middle of layers too; ECR answers 401, and has been seen to answer 403."""
    pusher.aws.tokens(valid_requests=requests, short_lived=2, expired_status=status)
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1")
    assert (done.code, done.data["digest"]) == (0, image.digest), done
    assert pusher.requests("ecr:GetAuthorizationToken") == 3


def test_a_token_that_never_holds_is_exit_4(pusher: Pusher, repository: str, image: Made) -> None:
    pusher.aws.tokens(valid_requests=0)
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1")
    assert (done.code, done.error["code"]) == (4, "credentials"), done


def test_a_killed_push_leaves_nothing_and_goes_on(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """kill -9 in the middle of the layers: no tag, no scratch file, and the same call completes it."""
    made = docker_archive(tmp_path / "big.tar", [os.urandom(40_000_000), b"small"])
    words = ("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1", "--jobs", "1")
    process = pusher.start(*words)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "sending" in line:
                break
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert pusher.tagged(repository) == {} and list(pusher.scratch.iterdir()) == []
    done = pusher.call(*words)
    assert done.code == 0 and done.data["layers"]["total"] == 3, done


def test_an_interrupted_push_ends_at_once(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a layer: one document, exit 7, no tag."""
    big = oci(tmp_path / "big.tar", [os.urandom(60_000_000)])
    process = pusher.start("push", big.word, "--repository", repository, "--tag", "1")
    assert process.stderr is not None and process.stdout is not None
    for line in process.stderr:
        if "60.0 MB: sending" in line:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 7 and json.loads(said)["error"]["code"] == "timeout"
    assert time.monotonic() - began < 10 and pusher.tagged(repository) == {}


def test_two_pushes_of_one_tag(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """At once and of different images: one wins, the other is exit 5; of the same image both succeed."""
    one, other = oci(tmp_path / "one.tar", [b"one"]), oci(tmp_path / "other.tar", [b"other"])
    same = [pusher.start("push", one.word, "--repository", repository, "--tag", "1") for _ in range(2)]
    assert [process.wait(timeout=60) for process in same] == [0, 0]
    both = [pusher.start("push", made.word, "--repository", repository, "--tag", "2") for made in (one, other)]
    codes = [process.wait(timeout=60) for process in both]
    assert sorted(codes) == [0, 5]
    assert pusher.tagged(repository)["2"] == (one, other)[codes.index(0)].digest
    for process in (*same, *both):
        process.communicate()


def test_a_full_disk_is_exit_8(pusher: Pusher, repository: str, tmp_path: Path, small_disk: Path) -> None:
    """Where the compressed layer does not fit: which folder, what to set, and the folder is empty afterwards."""
    made = docker_archive(tmp_path / "saved.tar", [os.urandom(3_000_000)])
    words = ("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1")
    done = pusher.call(*words, TMPDIR=str(small_disk))
    assert done.code == 8 and "No space left" in done.error["message"] and "TMPDIR" in done.error["hint"], done
    assert list(small_disk.iterdir()) == [] and pusher.tagged(repository) == {}
    assert pusher.call(*words).code == 0


def test_a_deadline_is_exit_7(pusher: Pusher, repository: str, image: Made) -> None:
    """It ends within a few seconds of --timeout, and the same call completes it."""
    pusher.aws.cut(1_000_000, method="PATCH", times=20)
    began = time.monotonic()
    done = pusher.call("push", image.word, "--repository", repository, "--tag", "1", "--timeout", "1")
    assert (done.code, done.error["code"]) == (7, "timeout") and time.monotonic() - began < 10, done
    pusher.aws.reset()
    pusher.call("ensure-repo", repository)
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "1").code == 0

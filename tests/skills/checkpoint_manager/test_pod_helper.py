"""The helper pod on a claim is gone after success, errors, Ctrl-C and SIGTERM; what a killed caller left goes with the next call."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_calls import IMAGE, ON_REAL, RUN_ID, called, command, environment
from made_checkpoints import FORMAT, write_step
from pod_places import Place, claim_on_real_node

from tests.components.cluster.running import Cluster

SLOW_BYTES = 1 << 40
"""A shard that is a hole of this size: verifying it takes longer than any test."""


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with claim_on_real_node(cluster, tmp_path_factory.mktemp("volume")) as made:
        write_step(made.folder / "quick", 1)
        slow = write_step(made.folder / "slow", 1)
        manifest = json.loads((slow / "manifest.json").read_bytes())
        for name in manifest["files"]:
            manifest["files"][name]["size"] = SLOW_BYTES
            with (slow / name).open("wb") as file:
                file.truncate(SLOW_BYTES)
        (slow / "manifest.json").write_bytes(FORMAT.seal(manifest))
        yield made


def wait_for(ready: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := ready()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return value


def running(place: Place) -> list[dict[str, Any]]:
    return [pod for pod in place.helpers() if pod["status"].get("phase") == "Running"]


def started(place: Place, *words: Any) -> subprocess.Popen[str]:
    """A call that verifies the slow step, once its helper pod runs."""
    call = command("pod_checkpoints.py", place.namespace, ("verify", "/trainyard/slow", *place.helper_words(), *words))
    process = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(place.cluster), cwd="/"
    )
    wait_for(lambda: running(place))
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_call_removes_its_helper(place: Place, number: signal.Signals) -> None:
    """Until then the helper reads only, is no pod of the run's job, and keeps its claim from being deleted."""
    process = started(place)
    [pod] = running(place)
    of_the_job = f"--selector=trainyard.dev/run-id={RUN_ID}"
    assert place.cluster.get("pods", "", "--namespace", place.namespace, of_the_job)["items"] == []
    delete = ("delete-volume", place.claim, "--run-id", RUN_ID, "--yes")
    in_use = called("manage_volumes.py", place.cluster, place.namespace, *delete)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 7 and json.loads(output)["error"]["code"] == "timeout", errors
    assert place.helpers() == []
    assert in_use.code == 5 and pod["metadata"]["name"] in in_use.document["error"]["message"]
    metadata, spec = pod["metadata"], pod["spec"]
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "trainyard"
    assert metadata["annotations"]["trainyard.dev/run-id"] == RUN_ID
    assert spec["containers"][0]["volumeMounts"] == [{"name": "volume", "mountPath": "/trainyard", "readOnly": True}]
    assert spec["automountServiceAccountToken"] is False and spec["activeDeadlineSeconds"] == 660


def test_success_and_errors_leave_no_helper(place: Place) -> None:
    assert place.by_helper("latest", "/trainyard/quick").code == 0
    assert place.helpers() == []
    assert place.by_helper("latest", "/trainyard/absent").code == 3
    assert place.helpers() == []
    late = place.by_helper("verify", "/trainyard/slow", "--timeout", 6)
    assert late.code == 7 and place.helpers() == []


def test_an_image_that_cannot_be_pulled_or_has_no_python_is_named_at_once(place: Place) -> None:
    began = time.monotonic()
    absent = place.by_helper("latest", "/trainyard/quick", image="local.test/absent:1")
    assert absent.code == 2 and "--image" in absent.document["error"]["hint"], absent.document
    assert "local.test/absent:1" in absent.document["error"]["message"]
    without = place.by_helper("latest", "/trainyard/quick", "--python", "no-such-python")
    assert without.code == 2 and "no-such-python" in without.document["error"]["message"]
    assert time.monotonic() - began < 60 and place.helpers() == []


def test_what_a_killed_caller_left_ends_by_itself_and_goes_with_the_next_call(place: Place) -> None:
    process = started(place)
    process.kill()
    process.communicate(timeout=60)
    [left] = place.helpers()
    # Its deadline, brought forward: a minute more than --timeout is long for a test.
    deadline = json.dumps({"spec": {"activeDeadlineSeconds": 1}})
    name = left["metadata"]["name"]
    place.cluster.kubectl("patch", "pod", name, "--namespace", place.namespace, "--patch", deadline)
    wait_for(lambda: place.helpers()[0]["status"].get("phase") == "Failed")
    assert place.by_helper("latest", "/trainyard/quick").code == 0
    wait_for(lambda: place.helpers() == [])


def test_a_helper_needs_an_image_and_a_claim_that_is_there(place: Place) -> None:
    words = ("latest", "/trainyard/quick", *ON_REAL)
    without = called("pod_checkpoints.py", place.cluster, place.namespace, *words, "--claim", place.claim)
    assert without.code == 2 and "--image" in without.document["error"]["hint"]
    absent = called("pod_checkpoints.py", place.cluster, place.namespace, *words, "--claim", "absent", "--image", IMAGE)
    assert absent.code == 3
    bad = called("pod_checkpoints.py", place.cluster, place.namespace, *words, "--claim", place.claim, "--toleration", "[")
    assert bad.code == 2


def test_a_request_says_where_the_helper_may_go(place: Place, tmp_path: Path) -> None:
    """Claim, image and labels are the job's; its instance type is not the helper's. Control: without the label nothing runs."""
    labels = {"type": "real", "node.kubernetes.io/instance-type": "p5.48xlarge"}
    request = {"name": "toy", "run": "python train.py", "image": {"uri": IMAGE}, "claim": place.claim}
    told = tmp_path / "request.json"
    words = ("list", "/trainyard/quick", "--request", told, "--timeout")
    told.write_text(json.dumps({**request, "cluster": {"node_selector": labels}}))
    listed = called("pod_checkpoints.py", place.cluster, place.namespace, *words, 60)
    assert (listed.code, listed.document["data"]["total"]) == (0, 1)
    told.write_text(json.dumps({**request, "cluster": {"node_selector": {"type": "no-such-node"}}}))
    assert called("pod_checkpoints.py", place.cluster, place.namespace, *words, 5).code in (7, 8)

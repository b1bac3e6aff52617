"""Real Ray in real pods: one RayCluster for the claims about heads and submissions, one RayJob that ends well and one that does not."""

from __future__ import annotations

import json
import time

import pytest
from ray_calls import REAL, RUN_ID, Ray

TWO_NODES = """
import ray, sys
ray.init(logging_level="ERROR")
print("nodes", len({n["NodeID"] for n in ray.nodes() if n["Alive"]}), "answer", ray.get(ray.remote(lambda: 6 * 7).remote()))
print("this is stderr", file=sys.stderr)
"""
QUOTED = """print('a "b" $HOME `c`', "it's")"""
"""Words that a shell would take apart."""
SAID = """[0] a "b" $HOME `c` it's"""
OWN = f"rc-{RUN_ID[:8]}"
"""The id of the run's own job."""


@pytest.fixture(scope="module")
def real(shared_ray: Ray) -> Ray:
    """A RayCluster `rc` of a head and a worker, ready, and a RayJob `good` that gets there meanwhile.

    `rc` is not root's, as rayproject/ray is not, and has a new volume, which is.
    """
    shared_ray.cluster.make_volumes(shared_ray.namespace, 1, local=True)
    shared_ray.cluster.make_claim(shared_ray.namespace, OWN)
    user = ("--run-as-user", "1000", "--env", "HOME=/tmp", "--env", "USER=ray")
    made = shared_ray.create("rc", *REAL, *user, "--claim", OWN, nodes=2)
    assert made.exit_code == 0, made.document
    ready = shared_ray("wait", "rc", "--timeout", "150")
    assert ready.exit_code == 0, ready.document
    # Not earlier, and not `bad` too: three Rays that start at once on two cores fail their probes.
    made = shared_ray.create("good", *REAL, "--ttl-s", "1", "--", "python", "-c", QUOTED, kind="rayjob")
    assert made.exit_code == 0, made.document
    return shared_ray


def test_a_command_on_the_head_uses_the_whole_cluster_and_is_streamed(real: Ray) -> None:
    ran = real("exec", "rc", "--run-id", RUN_ID, "--", "python", "-c", TWO_NODES)
    lines = [each["line"] for each in ran.stream]
    assert ran.exit_code == 0 and ran.data["exit_code"] == 0, ran.document
    assert "nodes 2 answer 42" in lines and "this is stderr" in lines
    assert all(each["type"] == "log" and each["pod"] == ran.data["pod"] for each in ran.stream)


def test_the_volume_of_a_cluster_takes_what_another_user_than_root_writes(real: Ray) -> None:
    """On the head and, by Ray, on the other node; the control is in test_ptjob_users.py."""
    write = "mkdir -p $TRAINYARD_RUN_DIR/$1 && touch $TRAINYARD_RUN_DIR/$1/file && stat -c %u:%g $TRAINYARD_RUN_DIR/$1/file"
    of_ray = "import ray, subprocess; ray.init(logging_level='ERROR'); f = ray.remote(lambda: subprocess.check_output(['sh', '-c', {write!r}, '-', 'task'], text=True)); print(ray.get(f.remote()))"
    for words in (("sh", "-c", write, "-", "exec"), ("python", "-c", of_ray.format(write=write))):
        ran = real("exec", "rc", "--run-id", RUN_ID, "--", *words)
        assert ran.exit_code == 0 and "1000:1000" in [each["line"] for each in ran.stream], ran.document


def test_a_failed_command_is_a_no_with_its_code(real: Ray) -> None:
    failed = real("exec", "rc", "--", "sh", "-c", "exit 7")
    assert failed.exit_code == 1 and failed.data["exit_code"] == 7
    missing = real("exec", "rc", "--", "no-such-program")
    assert missing.exit_code == 1 and missing.data["exit_code"] == 127


def test_a_command_that_does_not_end_in_time_is_left_with_7(real: Ray) -> None:
    late = real("exec", "rc", "--timeout", "1", "--", "sleep", "20")
    assert late.exit_code == 7 and late.error["retryable"]


def test_nodes_and_accelerators_are_counted_from_inside_ray(real: Ray) -> None:
    seen = real("verify-gpus", "rc")
    assert seen.exit_code == 1, "nothing was asked for, so nothing is proved"
    assert seen.data["nodes"] == {"wanted": 2, "alive": 2} and len(seen.data["per_node"]) == 2
    assert seen.check("ray.nodes")["status"] == "pass" and seen.check("devices")["status"] == "unknown"
    assert all(row["devices"] == 0 for row in seen.data["per_node"]), "every node answered, and has none"


def submit(real: Ray, id: str, *command: str) -> None:
    made = real("submit", "rc", "--run-id", RUN_ID, "--submission-id", id, "--", *command)
    assert made.exit_code == 0, made.document


def test_a_job_that_was_not_submitted_yet_is_pending_and_no_other_is_taken_for_it(real: Ray) -> None:
    """The deployer's call: always the run's own job, whatever else runs on the cluster."""
    submit(real, "first", "python", "-c", "print('of another job')")
    which = ("rc", "--run-id", RUN_ID, "--submission-id", OWN)
    seen = real("status", *which)
    assert (seen.exit_code, seen.data["state"], seen.data["submission_id"]) == (0, "pending", OWN), seen.document
    assert f"does not know {OWN}" in seen.data["reason"]
    late = real("wait", *which, "--timeout", "2")
    assert late.exit_code == 7 and late.data["state"] == "pending"
    assert real("logs", *which).exit_code == 3, "no lines would mean that it printed none"
    followed = real("logs", *which, "--follow", "--timeout", "2")
    assert followed.data["state"] == "pending" and not followed.stream
    assert real("status", "rc").data["submission_id"] == "first", "there is no job of the run's own yet"


def test_a_submission_is_made_once_an_id_and_its_end_is_the_clusters_state(real: Ray) -> None:
    words = ("submit", "rc", "--run-id", RUN_ID, "--", "python", "-c", QUOTED)
    first, again = real(*words), real(*words)
    assert first.exit_code == again.exit_code == 0, (first.document, again.document)
    assert first.data["submission_id"] == again.data["submission_id"] == OWN
    assert first.document["changed"] and not again.document["changed"]
    assert real("submit", "rc", "--run-id", RUN_ID, "--", "python", "-c", "pass").exit_code == 5
    ended = real("wait", "rc", "--timeout", "60")
    assert ended.exit_code == 0 and ended.data["state"] == "finished", ended.document
    assert "ray.holds-cluster" in ended.findings()
    assert SAID in real("logs", "rc").data["lines"]


def test_a_submission_that_fails_ends_the_wait_with_1_and_its_log_is_followed(real: Ray) -> None:
    words = "import time; print('one', flush=True); time.sleep(3); print('two'); raise SystemExit(3)"
    submit(real, "fails", "python", "-c", words)
    followed = real("logs", "rc", "--submission-id", "fails", "--follow", "--timeout", "60")
    lines = [each["line"] for each in followed.stream]
    assert followed.data["state"] == "failed" and lines.count("one") == lines.count("two") == 1
    ended = real("wait", "rc", "--submission-id", "fails", "--timeout", "60")
    assert ended.exit_code == 1 and "exit code 3" in ended.data["reason"]


def test_another_job_of_the_run_leaves_its_own_the_one_that_is_told_of(real: Ray) -> None:
    """After the two tests above: the run's own job has finished, the newest one has failed."""
    seen = real("status", "rc", "--run-id", RUN_ID)
    assert (seen.data["submission_id"], seen.data["state"]) == (OWN, "finished")
    assert real("wait", "rc", "--run-id", RUN_ID, "--timeout", "20").exit_code == 0
    assert SAID in real("logs", "rc", "--run-id", RUN_ID).data["lines"]
    assert "[0] one" in real("logs", "rc", "--run-id", RUN_ID, "--submission-id", "fails").data["lines"]
    assert real.notes("rc") == {"trainyard.dev/submission": OWN, "trainyard.dev/other-submission": "fails"}


def test_a_job_that_was_there_and_is_forgotten_has_failed_and_ends_every_wait(real: Ray) -> None:
    """As after the head's death: the cluster notes a job that Ray does not know."""
    note = "trainyard.dev/other-submission=lost"
    real.cluster.kubectl("annotate", "raycluster", "rc", "--namespace", real.namespace, "--overwrite", note)
    seen = real("status", "rc", "--submission-id", "lost")
    assert (seen.exit_code, seen.data["state"]) == (0, "failed") and "has forgotten" in seen.data["reason"]
    assert real("wait", "rc", "--submission-id", "lost", "--timeout", "60").exit_code == 1
    followed = real("logs", "rc", "--submission-id", "lost", "--follow", "--timeout", "60")
    assert followed.data["state"] == "failed" and "has forgotten" in followed.stderr
    assert real("logs", "rc", "--submission-id", "lost").exit_code == 3


def test_a_cluster_with_a_job_can_still_be_waited_for_to_be_ready(real: Ray) -> None:
    submit(real, "long", "sleep", "60")
    assert real("wait", "rc", "--submission-id", "long", "--timeout", "1").exit_code == 7, "the job goes on"
    assert real("wait", "rc", "--ready", "--timeout", "20").exit_code == 0


def test_accelerators_that_are_asked_for_and_not_there_are_found(real: Ray) -> None:
    """The specification is made to ask for GPUs after the pods were made: Ray and the devices say that there are none."""
    path = "/spec/headGroupSpec/template/spec/containers/0/resources/limits/nvidia.com~1gpu"
    patch = json.dumps([{"op": "add", "path": path, "value": "4"}])
    real.cluster.kubectl("patch", "raycluster", "rc", "--namespace", real.namespace, "--type=json", "--patch", patch)
    seen = real("verify-gpus", "rc")
    assert seen.exit_code == 1
    assert seen.check("ray.accelerators")["summary"] == "Ray counts 0 of 4 on 1 nodes"
    assert seen.check("devices")["status"] == "fail"


def test_delete_ends_everything_of_the_run_and_nothing_else(real: Ray) -> None:
    gone = real("delete", "rc", "--run-id", RUN_ID, "--yes")
    assert gone.exit_code == 0 and gone.document["changed"] == ["RayCluster rc deleted"]
    assert not [pod for pod in real.get("pods")["items"] if pod["metadata"]["labels"]["trainyard.dev/run"] == "rc"]


def test_a_rayjob_that_succeeds_is_finished_with_its_words_untouched_and_lets_its_cluster_go(real: Ray) -> None:
    ended = real("wait", "good", "--timeout", "150")
    assert ended.exit_code == 0 and ended.data["state"] == "finished", ended.document
    assert SAID in real("logs", "good").data["lines"]
    deadline = time.monotonic() + 60
    while (seen := real("status", "good").data)["pods"] and time.monotonic() < deadline:
        time.sleep(1)
    assert not seen["pods"] and seen["state"] == "finished"
    assert SAID in real("logs", "good").data["lines"], "the log outlives the cluster"


def test_a_rayjob_whose_command_fails_has_failed_with_its_last_lines(shared_ray: Ray) -> None:
    made = shared_ray.create("bad", *REAL, "--", "sh", "-c", "echo last words; exit 1", kind="rayjob")
    assert made.exit_code == 0, made.document
    ended = shared_ray("wait", "bad", "--timeout", "150")
    assert ended.exit_code == 1 and ended.data["state"] == "failed", ended.document
    assert "exit code 1" in ended.data["reason"] and "last words" in ended.data["reason"]
    followed = shared_ray("logs", "bad", "--follow", "--timeout", "60")
    assert "last words" in [each["line"] for each in followed.stream]

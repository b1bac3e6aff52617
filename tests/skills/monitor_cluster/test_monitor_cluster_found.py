"""Which run is meant: by its name, its job's name, or a selector; what is not clear is a question back."""

from __future__ import annotations

import time

from a_run import JOBS, job, pod, running
from api_of_a_run import NAMESPACE, Api
from monitor_calls import Monitor


def test_a_run_is_found_by_name_by_kind_and_name_and_by_selector(api: Api, played: Monitor) -> None:
    running(api)
    for words in (
        ("tiny",),
        ("PyTorchJob/tiny",),
        ("pytorchjobs/tiny",),
        ("--selector", "trainyard.dev/run-id=0123456789abcdef"),
    ):
        data = played("status", *words).data
        assert (data["job"], data["pods_total"]) == ("PyTorchJob/tiny", 2), words


def test_a_job_of_somebody_else_is_found_by_its_name(api: Api, played: Monitor) -> None:
    running(api)
    began = time.time() - 600
    api.objects[f"{JOBS}/tiny"] = job(run_id=None, began=began)
    api.pods = [pod(rank, began=began, run_id=None) for rank in (0, 1)]
    assert played("status", "tiny").data["step"] == 59


def test_a_name_that_several_jobs_have_is_asked_back(api: Api, played: Monitor) -> None:
    running(api)
    api.objects[f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs/tiny"] = {
        "kind": "RayJob",
        "metadata": {"name": "tiny", "uid": "r"},
        "spec": {},
    }
    answer = played("status", "tiny")
    assert (answer.code, answer.error["hint"]) == (5, "say which: PyTorchJob/tiny")
    assert played("status", "PyTorchJob/tiny").code == 0


def test_pods_of_an_older_job_of_that_name_are_not_this_runs(api: Api, played: Monitor) -> None:
    running(api)
    old = pod(2, began=time.time() - 9000, run_id="f" * 16)
    api.pods.append(old)
    assert played("status", "tiny").data["pods_total"] == 2
    answer = played("status", "--selector", "training.kubeflow.org/job-name=tiny")
    assert answer.code == 5 and "2 runs" in answer.error["message"]


def test_nothing_of_that_name_is_not_found_and_says_what_may_not_be_read(api: Api, played: Monitor) -> None:
    api.refused = ("trainjobs",)
    answer = played("status", "nope")
    assert (answer.code, answer.data["unread"]) == (3, ["trainjobs"])
    assert "does not exist here" in answer.error["message"]


def test_a_job_that_may_not_be_read_is_judged_by_its_pods_and_said_so(api: Api, played: Monitor) -> None:
    running(api)
    api.refused = ("pytorchjobs",)
    answer = played("health", "tiny")
    assert (answer.code, answer.data["state"]) == (1, "running")
    assert answer.check("find.pytorchjob")["status"] == "unknown"


def test_a_folder_that_is_there_goes_before_a_run_of_its_name(api: Api, played: Monitor) -> None:
    running(api)
    (played.folder / "tiny").mkdir()
    assert played("status", "tiny").error["message"].startswith("tiny is not a run folder")
    assert played("status", "tiny", "-n", NAMESPACE).data["job"] == "PyTorchJob/tiny"

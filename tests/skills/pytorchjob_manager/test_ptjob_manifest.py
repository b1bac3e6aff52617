"""Manifests: what the request says is in them, for every engine and every TrainJob API. Each in a fresh process; no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "skills" / "pytorchjob-manager" / "src"
BUILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
asked = json.loads(sys.argv[2])
import ptjob_manifest, trainyard_shell
from ptjob_request import JobRequest
from ptjob_trainer_api import api_of
for key in ("command", "image_pull_secrets", "tolerations", "avoid_nodes"):
    asked[key] = tuple(asked.get(key, ()))
asked["secrets"] = {name: tuple(source) for name, source in asked.get("secrets", {}).items()}
schema = asked.pop("schema", None)
try:
    request = JobRequest(**asked)
    extra = [api_of("v1alpha1", schema)] if request.engine == "trainjob" else []
    print(json.dumps(getattr(ptjob_manifest, request.engine)(request, *extra)))
except trainyard_shell.SkillError as error:
    print(json.dumps({"error": error.code, "message": str(error)}))
"""
ASKED: dict[str, Any] = {
    "name": "tiny",
    "run_id": "0123456789abcdef",
    "image": "repo@sha256:0",
    "command": ["torchrun", "train.py", "--steps", "4"],
    "nodes": 3,
    "procs": 8,
    "claim": "tiny-01234567",
    "secrets": {"HF_TOKEN": ["hf", "token"]},
    "cpu": "7500m",
    "memory": "1.5Gi",
    "gpus": 8,
    "efa": 4,
    "grace_s": 45.5,
}


def build(engine: str, **changes: Any) -> dict[str, Any]:
    asked = {**ASKED, "engine": engine, **changes}
    words = [sys.executable, "-c", BUILD, str(SOURCE), json.dumps(asked)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def pods_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    spec = job["spec"]
    groups = spec.get("pytorchReplicaSpecs", {}).values() or spec.get("replicaSpecs", [])
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("engine", ["pytorchjob", "hyperpodjob"])
def test_a_pod_has_its_volume_memory_for_shm_devices_secrets_and_time_to_save(engine: str) -> None:
    for pod in pods_of(build(engine)):
        main = pod["containers"][0]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in main["volumeMounts"]}
        assert volumes[mounts["/trainyard"]]["persistentVolumeClaim"] == {"claimName": "tiny-01234567"}
        assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": str(3 << 28)}  # half of 1.5Gi
        devices = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "4"}
        assert main["resources"]["limits"] == {"memory": "1.5Gi", **devices}
        assert main["resources"]["requests"] == {"cpu": "7500m", "memory": "1.5Gi"}
        environment = {each["name"]: each for each in main["env"]}
        assert environment["HF_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
        assert environment["TRAINYARD_CHECKPOINTS"]["value"] == "/trainyard/tiny-0123456789abcdef/checkpoints"
        assert (environment["TRAINYARD_STOP_GRACE_S"]["value"], pod["terminationGracePeriodSeconds"]) == ("45.5", 76)
        assert environment["TRAINYARD_HANG"]["value"] == "restart" and environment["TRAINYARD_HANG_AFTER_S"]["value"] == "auto"
        assert "TRAINYARD_LOG_PATTERN" not in environment
        assert pod["automountServiceAccountToken"] is False


def test_the_pods_carry_the_pattern_that_reads_their_log() -> None:
    """Kubernetes makes one dollar of two, and expands $(NAME)."""
    for pod in pods_of(build("pytorchjob", log_pattern=r"loss (?P<loss>\S+)$")):
        environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert environment["TRAINYARD_LOG_PATTERN"] == r"loss (?P<loss>\S+)$$"


@pytest.mark.parametrize("engine", ["pytorchjob", "hyperpodjob", "trainjob"])
def test_no_pod_has_rights_that_a_training_script_does_not_need(engine: str) -> None:
    job = build(engine, schema=schema(runtimePatches=PATCHES_2_3))
    for pod in pods_of(job) or [pod_of_patch(job)]:
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod_of_patch(job: dict[str, Any]) -> dict[str, Any]:
    jobs = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return dict(jobs[0]["template"]["spec"]["template"]["spec"])


def test_limits_are_those_that_were_asked_for() -> None:
    """Others than the requests, and enough for /dev/shm where nothing else is said."""
    limited = {"limit_cpu": "16", "limit_memory": "2Gi"}
    [pod, _] = pods_of(build("pytorchjob", **limited, gpus=0, efa=0))
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "7500m", "memory": "1.5Gi"},
        "limits": {"cpu": "16", "memory": "2Gi"},
    }
    [pod, _] = pods_of(build("pytorchjob", **limited, memory=None))
    assert pod["volumes"][0]["emptyDir"]["sizeLimit"] == str(1 << 30)
    refused = build("pytorchjob", **limited, memory="3Gi")
    assert refused["error"] == "usage" and "resources.limits.memory 2Gi is less than the 3Gi" in refused["message"]


def test_a_pytorchjob_has_one_master_and_no_empty_group_of_workers() -> None:
    groups = build("pytorchjob")["spec"]["pytorchReplicaSpecs"]
    assert {role: group["replicas"] for role, group in groups.items()} == {"Master": 1, "Worker": 2}
    assert all(group["restartPolicy"] == "ExitCode" for group in groups.values())
    assert list(build("pytorchjob", nodes=1)["spec"]["pytorchReplicaSpecs"]) == ["Master"]
    assert build("pytorchjob")["spec"]["nprocPerNode"] == "8"


def test_torchrun_stands_for_the_launcher_of_the_engine() -> None:
    command = pods_of(build("pytorchjob"))[0]["containers"][0]["command"]
    assert command == ["python3", "-m", "trainyard.launch", "train.py", "--steps", "4"]
    command = pods_of(build("hyperpodjob"))[0]["containers"][0]["command"]
    assert (command[:3], command[-3:]) == (["hyperpodrun", "--nproc-per-node=8", "--nnodes=3"], ["train.py", "--steps", "4"])
    elastic = build("pytorchjob", min_nodes=2, max_nodes=4)
    assert pods_of(elastic)[0]["containers"][0]["command"][:3] == ["python3", "-m", "torch.distributed.run"]


def test_a_program_that_is_not_torchrun_is_watched_in_its_pod() -> None:
    plain: dict[str, Any] = {"nodes": 1, "procs": 1, "command": ("bash", "run.sh", "--lr", "1")}
    command = pods_of(build("pytorchjob", **plain))[0]["containers"][0]["command"]
    assert (command[:2], command[3:]) == (["python3", "-c"], ["bash", "run.sh", "--lr", "1"])
    assert "TRAINYARD_MAX_RESTARTS" in command[2]
    trainer = build("trainjob", schema=schema(runtimePatches=PATCHES_2_3), **plain)["spec"]["trainer"]
    assert trainer["command"] == ["bash", "run.sh", "--lr", "1"], "a Job bounds what is started again in its pods"


def test_a_program_whose_deaths_nothing_counts_is_not_made_anew_by_the_operator() -> None:
    plain = {"nodes": 1, "procs": 1, "command": ("python3", "x.py")}
    assert build("pytorchjob", **plain, claim=None)["spec"]["runPolicy"]["backoffLimit"] == 0
    for counted in (build("pytorchjob", **plain), build("pytorchjob"), build("pytorchjob", claim=None)):
        assert "backoffLimit" not in counted["spec"]["runPolicy"]


def test_pods_without_a_common_volume_are_not_told_of_a_common_folder() -> None:
    for nodes, claim, told in ((1, None, True), (3, None, False), (3, "tiny-01234567", True)):
        pod = pods_of(build("pytorchjob", nodes=nodes, claim=claim))[0]
        assert ("TRAINYARD_RUN_DIR" in {each["name"] for each in pod["containers"][0]["env"]}) is told


def test_one_pod_a_node_is_anti_affinity_and_other_keys_are_spread() -> None:
    pod = pods_of(build("pytorchjob", spread_key="kubernetes.io/hostname"))[0]
    (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"] == {"matchLabels": {"trainyard.dev/run-id": "0123456789abcdef"}}
    pod = pods_of(build("pytorchjob", spread_key="topology.k8s.aws/network-node-layer-1"))[0]
    assert pod["topologySpreadConstraints"][0]["maxSkew"] == 1


def test_nodes_are_avoided_beside_one_pod_a_node() -> None:
    affinity = pods_of(build("pytorchjob", spread_key="kubernetes.io/hostname", avoid_nodes=["b", "a"]))[0]["affinity"]
    (term,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [each["values"] for each in term["matchFields"]] == [["a"], ["b"]], "of a field one value a requirement"
    assert "podAntiAffinity" in affinity
    assert build("pytorchjob", avoid_nodes=["no name"])["error"] == "usage"
    assert "affinity" not in pods_of(build("pytorchjob"))[0]


TYPE, ARCH, OS = "node.kubernetes.io/instance-type", "kubernetes.io/arch", "kubernetes.io/os"
PLATFORMS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from trainyard_platform import with_platform
print(json.dumps([with_platform(each) for each in json.loads(sys.argv[2])]))
"""


@pytest.mark.situation(
    "S17",
    "an arm64 and a Windows node; a job that names no instance type",
    "they do not count, and the pods select kubernetes.io/arch and kubernetes.io/os",
)
@pytest.mark.parametrize("engine", ["pytorchjob", "hyperpodjob", "trainjob"])
def test_pods_select_the_platform_of_their_image(engine: str) -> None:
    made = build(engine, node_selector={"a": "b"}, schema=schema(runtimePatches=PATCHES_2_3))
    pods = pods_of(made)
    if engine == "trainjob":
        inner = made["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
        pods = [inner["template"]["spec"]["template"]["spec"]]
    assert pods and all(pod["nodeSelector"] == {"a": "b", ARCH: "amd64", OS: "linux"} for pod in pods)


def test_the_instance_type_says_the_architecture_and_the_jobs_own_word_counts() -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "amd64"),
        *(({TYPE: name}, "amd64") for name in ("ml.p5.48xlarge", "g5.xlarge", "p4de.24xlarge", "gr6.4xlarge", "trn1.32xlarge")),
        *(
            ({TYPE: name}, "arm64")
            for name in ("g5g.xlarge", "ml.c7gn.xlarge", "is4gen.large", "a1.metal", "p6e-gb200.36xlarge")
        ),
        ({TYPE: "g5g.xlarge", ARCH: "amd64"}, "amd64"),
        ({ARCH: "arm64"}, "arm64"),
        ({f"beta.{ARCH}": "arm64"}, "arm64"),
    ]
    words = [sys.executable, "-c", PLATFORMS, str(SOURCE), json.dumps([asked for asked, _ in cases])]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout)
    assert found == [{**asked, ARCH: arch, OS: "linux"} for asked, arch in cases]


def schema(**spec: Any) -> dict[str, Any]:
    """An OpenAPI document as the API server gives it, cut down to what is read."""
    job = {"properties": {"spec": {"allOf": [{"properties": spec}], "properties": spec}}}
    return {"components": {"schemas": {"com.github.kubeflow.trainer.v1alpha1.TrainJob": job}}}


def keys(*names: str) -> dict[str, Any]:
    of_containers = ("name", "env", "volumeMounts", *({"securityContext"} & {*names}))
    containers = {"items": {"properties": {name: {} for name in of_containers}}}
    return {"properties": {name: containers if name == "containers" else {} for name in names}}


GRACE = "terminationGracePeriodSeconds"
OF_2_0 = ("containers", "initContainers", "nodeSelector", "schedulingGates", "serviceAccountName", "tolerations", "volumes")
OF_2_1 = (*OF_2_0, "affinity", "imagePullSecrets")
OF_2_3 = (*OF_2_1, "securityContext", GRACE)
"""Keys of a pod that a TrainJob of Kubeflow Trainer 2.0.1, 2.1.0 and 2.3.0 can change, by their CRDs."""


def nested(pod: dict[str, Any], *path: str) -> dict[str, Any]:
    for name in reversed(path):
        inner = {"items": pod} if name.endswith("[]") else pod
        pod = {"properties": {name.removesuffix("[]"): inner}}
    return pod


PATCHES_2_3 = {
    "items": nested(
        keys(*OF_2_3), *("trainingRuntimeSpec", "template", "spec", "replicatedJobs[]", "template", "spec", "template", "spec")
    )
}
OVERRIDES_2_1 = {"items": nested(keys(*OF_2_1), "spec")}
OVERRIDES_2_0 = {"items": keys(*OF_2_0, "targetJobs")}


def test_a_trainjob_speaks_the_language_of_its_cluster() -> None:
    job = build("trainjob", schema=schema(runtimePatches=PATCHES_2_3))["spec"]
    (patch,) = job["runtimePatches"]
    assert patch["manager"] == "trainyard.dev/pytorchjob-manager"
    inner = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    assert inner["name"] == "node" and inner["template"]["spec"]["template"]["spec"]["volumes"]
    assert (job["trainer"]["numNodes"], job["trainer"]["numProcPerNode"]) == (3, 8)
    (override,) = build("trainjob", schema=schema(podTemplateOverrides=OVERRIDES_2_1))["spec"]["podTemplateOverrides"]
    assert override["targetJobs"] == [{"name": "node"}] and override["metadata"]["labels"] and override["spec"]["volumes"]
    (override,) = build("trainjob", schema=schema(podSpecOverrides=OVERRIDES_2_0))["spec"]["podSpecOverrides"]
    assert override["targetJobs"] == [{"name": "node"}] and override["volumes"]


@pytest.mark.parametrize(("patches", "seconds"), [(PATCHES_2_3, "45.5"), (OVERRIDES_2_1, "20")], ids=["2.3", "2.1"])
def test_the_time_to_save_is_never_longer_than_the_kubelet_waits(patches: dict[str, Any], seconds: str) -> None:
    name = "runtimePatches" if patches is PATCHES_2_3 else "podTemplateOverrides"
    job = build("trainjob", schema=schema(**{name: patches}))["spec"]
    environment = {each["name"]: each.get("value") for each in job["trainer"]["env"]}
    assert environment["TRAINYARD_STOP_GRACE_S"] == seconds
    assert (GRACE in json.dumps(job[name])) is (seconds == "45.5")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": schema(podSpecOverrides=OVERRIDES_2_0), "spread_key": "kubernetes.io/hostname"}, "affinity"),
        ({"schema": schema(podSpecOverrides=OVERRIDES_2_0), "avoid_nodes": ["a"]}, "affinity"),
        ({"schema": schema(podTemplateOverrides=OVERRIDES_2_1), "priority": "p"}, "priority"),
        ({"schema": schema(suspend={})}, "none of"),
    ],
    ids=["no place for affinity", "no place for nodes to avoid", "no place for the priority", "no overrides at all"],
)
def test_what_the_clusters_trainjob_cannot_express_is_refused_and_never_dropped(changes: dict[str, Any], words: str) -> None:
    refused = build("trainjob", **changes)
    assert refused["error"] in ("usage", "dependency") and words in refused["message"]


def test_a_job_that_was_made_before_hangs_were_acted_on_is_still_recognised() -> None:
    digest = build("pytorchjob")["metadata"]["annotations"]["trainyard.dev/spec-digest"]
    assert digest == "8322b9c48faf059e75ace7af38a92490", "with all defaults, that of a version without them"
    assert build("pytorchjob", hang="report")["metadata"]["annotations"]["trainyard.dev/spec-digest"] != digest


def test_only_the_runs_own_volume_is_given_to_a_group_without_being_asked() -> None:
    def context(**changes: Any) -> Any:
        made = pods_of(build("pytorchjob", **changes))[0]["securityContext"]
        assert made.pop("seccompProfile") == {"type": "RuntimeDefault"}
        return made

    assert context() == {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}
    assert context(claim="shared-fsx") == context(claim=None) == {}
    assert context(claim="shared-fsx", fs_group=7) == {"fsGroup": 7, "fsGroupChangePolicy": "OnRootMismatch"}
    assert context(claim=None, run_as_user=0, run_as_group=5) == {"runAsUser": 0, "runAsGroup": 5}
    assert context(claim=None, run_as_user=7) == {"runAsUser": 7, "runAsNonRoot": True}


def test_a_trainjob_leaves_out_the_group_that_its_api_cannot_give_and_nobody_asked_for() -> None:
    old = {"schema": schema(podTemplateOverrides=OVERRIDES_2_1)}
    assert "securityContext" not in json.dumps(build("trainjob", **old))
    assert "securityContext" in json.dumps(build("trainjob", schema=schema(runtimePatches=PATCHES_2_3)))
    for asked in ({"fs_group": 1000}, {"run_as_user": 0}):
        assert "securityContext" in build("trainjob", **old, **asked)["message"]

"""What is made of a probe's findings: no check passes on what was found about something else."""

from __future__ import annotations

from typing import Any

import probing
import pytest

GPU = "RuntimeError: Found no NVIDIA driver on your system."
TORCHRUN = """\
Traceback (most recent call last):
  File "/usr/lib/torch/distributed/run.py", line 9, in main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
  exitcode  : 1 (pid: 71)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
"""


def standard(part: str, id: str, of: Any) -> Any:
    """One check of level standard."""
    (found,) = [each.check for each in probing.module(f"image_verdicts.{part}").standard(of) if each.check.id == id]
    return found


def scene(instance_type: str | None = None, efa: bool = False, **outcomes: Any) -> Any:
    """A test whose probes have these outcomes."""
    image = probing.module("tester_inspect").Image(
        name="net:v1", id="", digest=None, os="linux", arch="x86_64", size_bytes=1, user="", folder="/app", command=()
    )
    target = probing.module("trainyard_gpus").target(instance_type) if instance_type else None
    asked = probing.module("tester_asked").Asked(level="full", target=target, efa=efa, secrets=("HF_TOKEN",))
    answer = probing.module("tester_answer")
    found = {id: [answer.Outcome(id=id, index=0, **fields)] for id, fields in outcomes.items()}
    return probing.module("image_verdicts.verdict_of").Scene(asked, image, answer.Answers(outcomes=found))


@pytest.mark.parametrize(
    ("said", "status", "needs"),
    [
        (f"{GPU}\n{TORCHRUN}", "unknown", "gpu"),
        (f"CUDA is not available, using the CPU\nValueError: no such preset\n{TORCHRUN}", "fail", None),
        (f"warning: {GPU}\nTraceback\nKeyError: 'presets'\n", "fail", None),
        ("set HF_TOKEN for more models\nTypeError: no\n", "fail", None),
        ("[rank0]: KeyError: 'HF_TOKEN'\n", "unknown", "secret"),
        ("Error: CUDA is not available\n", "unknown", "gpu"),
        ("No such file or directory: '/data/x'; a default is taken\nZeroDivisionError: division by zero\n", "fail", None),
    ],
)
def test_a_job_is_excused_by_its_end_alone(said: str, status: str, needs: str | None) -> None:
    """What it printed before, and went on after, does not make a mistake of its own a matter of this machine."""
    text = f"it ended with exit code 1 before its first step; its last words: {said}"
    verdict = probing.module("image_verdicts.verdict_job").full(scene(job={"state": "failed", "text": text}))
    assert (verdict.check.status, verdict.needs) == (status, needs), verdict


def test_a_job_without_a_step_is_no_pass() -> None:
    """Exit 0 alone may be a script that never called its training. Control: a step."""
    full = probing.module("image_verdicts.verdict_job").full
    assert full(scene(job={"state": "done", "data": {"step": None, "exit_code": 0}})).check.status == "warn"
    assert full(scene(job={"state": "done", "data": {"step": 1, "exit_code": None}})).check.status == "pass"


@pytest.mark.parametrize(
    ("instance_type", "architectures", "status"),
    [
        ("p6-b300.48xlarge", ["sm_100"], "pass"),
        ("p6-b300.48xlarge", ["sm_100f"], "pass"),
        ("p6-b300.48xlarge", ["sm_100a"], "fail"),
        ("p6-b200.48xlarge", ["sm_100a"], "pass"),
        ("p6-b200.48xlarge", ["sm_120", "sm_90"], "fail"),
        ("p6-b200.48xlarge", ["sm_90", "compute_90"], "warn"),
        ("p6-b200.48xlarge", ["sm_120", "compute_120"], "fail"),
        ("p5.48xlarge", ["sm_80", "sm_100", "sm_120"], "fail"),
        ("p5.48xlarge", ["sm_90a"], "pass"),
        ("g6e.48xlarge", ["sm_86"], "pass"),
    ],
)
def test_kernels_for_the_gpu(instance_type: str, architectures: list[str], status: str) -> None:
    """`a` is for one SM alone, `f` for its family; PTX of an older SM is compiled by the driver, that of a newer one is not."""
    torch = {"state": "done", "data": {"version": "2.15.0", "cuda": "13.2", "architectures": architectures}}
    check = standard("verdict_torch", "torch.kernels", scene(instance_type, torch=torch))
    assert check.status == status, check


@pytest.mark.parametrize(("capability", "status"), [([7, 5], "unknown"), ([9, 0], "pass")])
def test_another_gpu_proves_nothing(capability: list[int], status: str) -> None:
    cuda = {"state": "done", "data": {"device": "a GPU", "capability": capability}}
    check = standard("verdict_torch", "cuda.run", scene("p5.48xlarge", cuda=cuda))
    assert check.status == status, check


@pytest.mark.parametrize(("by_name", "status"), [(True, "pass"), (False, "fail")])
def test_a_plug_in_that_nccl_does_not_find(by_name: bool, status: str) -> None:
    """It loads by its path, and NCCL asks by its name: the job would go over TCP without a word."""
    found = {"state": "done", "data": {"path": "/opt/amazon/ofi-nccl/lib64/libnccl-net.so", "by_name": by_name}}
    check = standard("verdict_machine", "ofi_nccl", scene("p5.48xlarge", efa=True, ofi_nccl=found))
    assert check.status == status, check
    assert by_name or check.fix == "ENV LD_LIBRARY_PATH=/opt/amazon/ofi-nccl/lib64:$LD_LIBRARY_PATH"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            'OCI runtime create failed: starting container process caused: exec: "python3": executable file not found in $PATH',
            None,
        ),
        ("linux spec user: unable to find user trainer: no matching entries in passwd file", None),
        ("OCI runtime create failed: mkdir /app: not a directory", None),
        ('could not select device driver "" with capabilities: [[gpu]]', "usage"),
        ("failed to create shim: write /run/x: no space left on device", "unreachable"),
        ("OCI runtime create failed: cannot set memory limit", "unreachable"),
    ],
)
def test_what_docker_cannot_give_is_no_fault_of_the_image(said: str, code: str | None) -> None:
    container = probing.module("tester_container")
    fault = container.fault_of_the_host(container.Ran(error=f"Error response from daemon: {said}"))
    assert (fault and fault.code) == code
    assert container.fault_of_the_host(container.Ran(output=b"TY1", error=f"Error response from daemon: {said}")) is None


@pytest.mark.parametrize(
    ("host", "same"),
    [
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", True),
        ("123456789012.dkr-ecr.us-east-1.on.aws", True),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com", False),
        ("210987654321.dkr.ecr.us-east-1.amazonaws.com", False),
        ("127.0.0.1:5055", False),
    ],
)
def test_a_host_of_another_region_or_account(host: str, same: bool) -> None:
    """An image of the same name in it is another image."""
    same_registry = probing.module("trainyard_aws").same_registry
    assert same_registry(host, "123456789012.dkr.ecr.us-east-1.amazonaws.com") is same

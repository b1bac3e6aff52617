"""test_image_codebuild.py: an image that CodeBuild built is tested there, by the same probes as here."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from codebuild_call import PROJECT, CodeBuild

from tests.calling import SKILLS, Answer, call
from tests.components.build_host.fixtures import BuildHost
from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker
from tests.infrastructure import aws_policies as policies

PROGRAM = SKILLS / "image-tester" / "src" / "test_image_codebuild.py"
DOCKERFILE = "FROM python:3.11-slim\nWORKDIR /app\nCOPY . .\n"


@dataclass
class Prober:
    codebuild: CodeBuild
    docker: OldDocker

    def __call__(self, *words: object, timeout_s: float = 120) -> Answer:
        return call(PROGRAM, *words, env=self.codebuild.environment(), timeout_s=timeout_s)

    def built(self, folder: Path) -> str:
        """Its reference; where the build failed, all that it said."""
        answer = self.codebuild("build", folder)
        assert answer.code == 0, answer
        return str(answer.data["reference"])

    def containers(self) -> str:
        return self.docker.run("ps", "--all", "--quiet").stdout.strip()


@pytest.fixture
def tester(codebuild: CodeBuild, build_host: BuildHost, old_docker: OldDocker) -> Iterator[Prober]:
    """Hosts that test have a Docker; what it pulled from this registry goes again."""
    codebuild.aws.build_environment(**build_host.variables(), DOCKER_HOST=old_docker.host)
    yield Prober(codebuild, old_docker)
    codebuild.aws.build_environment(**build_host.variables(), DOCKER_HOST="")


@full_images
def test_an_image_is_built_and_tested(tester: Prober) -> None:
    """From source to a tested digest, both on CodeBuild; then an image in which a declared package is missing."""
    folder = tester.codebuild.project(files={"Dockerfile": DOCKERFILE, "requirements.txt": "pip\n"})
    built = tester.codebuild("build", folder)
    assert built.code == 0, built
    words = ("--level", "quick", "--project", folder, "--entry", "train.py")
    tested = tester("run", built.data["reference"], *words)
    assert tested.code == 0, (tested.document, tested.stderr[-3000:])
    assert tested.data["passed"] and tested.data["digest"] == built.data["digest"] and tested.data["unsigned_lines"] == 0
    assert tested.data["facts"]["python"].startswith("3.11") and tested.data["facts"]["size_bytes"] > 50e6
    assert tested.check("entry")["status"] == tested.check("imports")["status"] == "pass"
    assert tester.containers() == ""
    build_id = tested.data["build_id"]
    assert tester("status", build_id).data["image"] == built.data["reference"]
    log = tester("logs", build_id)
    assert log.data["total"] > 5 and not any("TRAINYARD-TEST" in line for line in log.data["lines"])

    (folder / "job.yaml").write_text("name: net\ntarget: eks\nrun: python train.py\n")
    full = tester("run", built.data["reference"], "--level", "full", "--request", folder / "job.yaml")
    assert full.check("container")["status"] == "pass" and full.check("trainyard")["status"] == "fail", full.document
    assert full.check("job.run")["status"] == "warn" and full.check("train.step")["status"] == "skipped"

    (folder / "requirements.txt").write_text("pip\nsix\n")
    by_tag = f"trainyard/net:{built.data['tag']}"
    missing = tester("run", by_tag, *words)
    assert missing.code == 1 and missing.check("imports")["status"] == "fail", missing.document
    row = tester.codebuild("list").data["builds"][0]
    assert row["status"] == "SUCCEEDED" and row["verdict"].startswith("unknown"), row
    seen = tester("status", row["build_id"])
    assert seen.code == 0 and seen.check("test.verdict")["status"] == "unknown", seen.document


JOB = "name: net\ntarget: eks\nrun: torchrun train.py\nresources: {shm: 256Mi}\n"
TRAINS = """
import trainyard, torch
trainyard.init_distributed()
model = torch.nn.Linear(2, 2)
with trainyard.Checkpointer(model=model, data=None, total_steps=2) as checkpointer:
    for step in range(checkpointer.restore() + 1, 3):
        checkpointer.step(step, loss=1.0 / step)
"""


@full_images
@pytest.mark.timeout(1800)
def test_every_level_is_tested_there(tester: Prober) -> None:
    """On the small torch, whose NCCL is a stub: that alone fails, and only the GPU's work is unproven. Its answer is many lines of the log."""
    folder = tester.codebuild.project(files={"requirements.txt": "torch\nnumpy\n", "train.py": TRAINS, "job.yaml": JOB})
    (folder / "Dockerfile").unlink()
    built = tester.codebuild("build", folder, "--base", "python:3.11-slim", timeout_s=900)
    assert built.code == 0, built
    words = ("run", built.data["reference"], "--project", folder, "--request", folder / "job.yaml", "--level")
    for level in ("standard", "full"):
        tested = tester(*words, level, timeout_s=900)
        checks = {each["id"]: each["status"] for each in tested.document["checks"]}
        assert tested.code == 1 and [id for id, status in checks.items() if status == "fail"] == ["nccl"], tested.document
        assert "a stub, not NCCL" in tested.check("nccl")["summary"]
        assert [each["id"] for each in tested.data["unproven"]] == ["cuda.run"]
        shown = ("train.step", "allreduce", "checkpoint", "job.run")
        assert [checks.get(id) for id in shown] == (["pass"] * 4 if level == "full" else [None] * 4)
    assert tester.containers() == "" and tester.codebuild.builds()[0]["buildStatus"] == "SUCCEEDED"


@full_images
@pytest.mark.parametrize(("log", "code"), [("lost", 8), ("late", 1)])
def test_a_log_that_comes_late_or_never(tester: Prober, log: str, code: int) -> None:
    """Without its log nothing is said about the image; lines that come after the build's end are waited for."""
    reference = tester.built(tester.codebuild.project())
    tester.codebuild.aws.builds_fault(log=log, log_late_s=4)
    tested = tester("run", reference, "--level", "quick")
    assert tested.code == code, tested
    assert code == 1 or (tested.error["retryable"] and tested.document["checks"] == [])


@full_images
def test_a_log_that_may_not_be_read(tester: Prober) -> None:
    """Exit 4 names the action; another call would end in the same way."""
    reference = tester.built(tester.codebuild.project())
    granted = policies.policy("test", repository="trainyard/net", without="logs:GetLogEvents")
    tester.codebuild.user = tester.codebuild.aws.user(granted)
    denied = tester("run", reference, "--level", "quick")
    assert (denied.code, denied.error["code"], denied.error["retryable"]) == (4, "permission", False), denied
    assert "logs:GetLogEvents" in denied.error["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_test_that_nobody_waits_for_is_stopped(tester: Prober, number: signal.Signals) -> None:
    """At Ctrl-C, and at the SIGTERM that the deployer sends then: nobody else could read its answer."""
    reference = tester.built(tester.codebuild.project())
    tester.codebuild.aws.builds_fault(phase="PRE_BUILD", slow_s=60)
    process = tester.codebuild.started("run", reference, "--level", "quick", program=PROGRAM)
    until(lambda: tester.codebuild.builds()[0]["currentPhase"] == "PRE_BUILD")
    time.sleep(0.5)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7 and "was stopped" in out, out
    until(lambda: tester.codebuild.builds()[0]["buildStatus"] == "STOPPED")
    rows = tester.codebuild("list").data["builds"]
    assert [each["kind"] for each in rows] == ["test", "build"] and rows[0]["image"] == reference, rows


def until(true: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@full_images
def test_a_host_that_fails_says_nothing_about_the_image(tester: Prober) -> None:
    """Exit 8, retryable: no check of the image failed or passed."""
    folder = tester.codebuild.project()
    reference = tester.built(folder)
    tester.codebuild.aws.builds_fault(phase="PROVISIONING", status_code="CLIENT_ERROR", message="no host", project=PROJECT)
    failed = tester("run", reference, "--level", "quick")
    assert (failed.code, failed.error["retryable"], failed.document["checks"]) == (8, True, []), failed
    assert "PROVISIONING FAILED: CLIENT_ERROR: no host" in failed.error["message"]


def test_an_image_without_python(tester: Prober) -> None:
    """It does not start: exit 1. The caller needs what its policy names, and nothing else."""
    folder = tester.codebuild.project()
    reference = tester.built(folder)
    tester.codebuild.user = tester.codebuild.aws.user(policies.policy("test", repository="trainyard/net"))
    failed = tester("run", reference, "--level", "quick")
    assert failed.code == 1 and failed.check("image.start")["status"] == "fail", failed
    allowed = policies.actions(policies.policy("test", repository="trainyard/net")) - policies.AT_CTRL_C
    assert policies.called(tester.codebuild.aws, tester.codebuild.user) == allowed and tester.containers() == ""


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("trainyard/net", 2),
        ("trainyard/net:none", 3),
        ("nobody/there:v1", 3),
        ("a;b:c", 2),
        ("else.where:5000/trainyard/net:v1", 2),
    ],
)
def test_an_image_that_is_not_there(tester: Prober, image: str, code: int) -> None:
    tester.codebuild.project()
    assert tester("run", image).code == code
    assert tester.codebuild.builds() == []

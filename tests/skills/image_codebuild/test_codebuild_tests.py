"""test_image_codebuild.py: an image that CodeBuild built is tested there, by the same probes as here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

    def __call__(self, *words: object) -> Answer:
        return call(PROGRAM, *words, env=self.codebuild.environment(), timeout_s=120)

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

    (folder / "requirements.txt").write_text("pip\nsix\n")
    by_tag = f"trainyard/net:{built.data['tag']}"
    missing = tester("run", by_tag, *words)
    assert missing.code == 1 and missing.check("imports")["status"] == "fail", missing.document


@full_images
def test_a_host_that_fails_says_nothing_about_the_image(tester: Prober) -> None:
    """Exit 8, retryable: no check of the image failed or passed. A lost log is the same."""
    folder = tester.codebuild.project()
    reference = tester.codebuild("build", folder).data["reference"]
    tester.codebuild.aws.builds_fault(phase="PROVISIONING", status_code="CLIENT_ERROR", message="no host", project=PROJECT)
    failed = tester("run", reference, "--level", "quick")
    assert (failed.code, failed.error["retryable"], failed.document["checks"]) == (8, True, []), failed
    assert "PROVISIONING FAILED: CLIENT_ERROR: no host" in failed.error["message"]


def test_an_image_without_python(tester: Prober) -> None:
    """It does not start: exit 1. The caller needs what its policy names, and nothing else."""
    folder = tester.codebuild.project()
    reference = tester.codebuild("build", folder).data["reference"]
    tester.codebuild.user = tester.codebuild.aws.user(policies.policy("test", repository="trainyard/net"))
    failed = tester("run", reference, "--level", "quick")
    assert failed.code == 1 and failed.check("image.start")["status"] == "fail", failed
    allowed = policies.actions(policies.policy("test", repository="trainyard/net")) - policies.AT_CTRL_C
    assert policies.called(tester.codebuild.aws, tester.codebuild.user) == allowed and tester.containers() == ""


@pytest.mark.parametrize(
    ("image", "code"), [("trainyard/net", 2), ("trainyard/net:none", 3), ("nobody/there:v1", 3), ("a;b:c", 2)]
)
def test_an_image_that_is_not_there(tester: Prober, image: str, code: int) -> None:
    tester.codebuild.project()
    assert tester("run", image).code == code
    assert tester.codebuild.builds() == []

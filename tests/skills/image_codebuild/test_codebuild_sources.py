"""What reaches the build: large sources in parts, repaired copies, secrets by name, generated Dockerfiles; and what never does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from codebuild_call import BUCKET, PROGRAM, CodeBuild

from tests.components.images.fixtures import full_images


def test_a_failure_is_repaired_in_the_builds_own_copy(codebuild: CodeBuild) -> None:
    """The second attempt has other text and so another source; the user's Dockerfile is as it was."""
    text = (
        "FROM python:3.11-slim\nRUN test -n \"$PIP_RETRIES\" || { echo 'Could not resolve host: index.example' >&2; exit 1; }\n"
    )
    folder = codebuild.project(files={"Dockerfile": text})
    built = codebuild("build", folder)
    assert built.code == 0, built
    first, second = built.data["attempts"]
    assert (first["class"], second["remedy"], second["ok"]) == ("network", "more_patience", True)
    assert any("+ARG PIP_RETRIES=" in line for line in second["diff"]) and (folder / "Dockerfile").read_text() == text
    assert len(built.data["build_ids"]) == 2
    assert codebuild.aws.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 2


@full_images
def test_a_large_source_goes_in_parts(codebuild: CodeBuild) -> None:
    """And what is left out by .dockerignore is not in the ZIP at all."""
    folder = codebuild.project(files={".dockerignore": "data\n", "data/secret.txt": "no\n"})
    (folder / "weights.bin").write_bytes(os.urandom(40 << 20))
    built = codebuild("build", folder)
    assert built.code == 0 and built.data["size_bytes"] > 40 << 20, built
    store = codebuild.aws.client("s3")
    (source,) = store.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert "-" in source["ETag"], "sent in parts"
    archive = codebuild.folder / "source.zip"
    store.download_file(BUCKET, source["Key"], str(archive))
    names = subprocess.run(["unzip", "-Z1", str(archive)], capture_output=True, text=True, check=True).stdout.split()
    assert "weights.bin" in names and not any("secret" in name for name in names)


@full_images
def test_a_secret_comes_from_secrets_manager(codebuild: CodeBuild) -> None:
    """Named on the command line, given to RUN; it stands in no log, answer or source."""
    codebuild.aws.client("secretsmanager").create_secret(Name="team/token", SecretString="s3cr3t-value")
    text = "FROM python:3.11-slim\nRUN --mount=type=secret,id=token grep -q s3cr3t /run/secrets/token\n"
    folder = codebuild.project(files={"Dockerfile": text})
    assert codebuild("build", folder).code == 1, "the control: without it the step fails"
    built = codebuild("build", folder, "--secret", "id=token,secretsmanager=team/token", "--image-tag", "v1")
    assert built.code == 0, built
    assert "s3cr3t-value" not in built.stderr + str(built.document) + Path(built.data["log"]).read_text()


@full_images
def test_a_project_without_a_dockerfile_is_built(codebuild: CodeBuild) -> None:
    """The generated one is shown, and not written unless asked."""
    folder = codebuild.project(files={"requirements.txt": "\n"})
    (folder / "Dockerfile").unlink()
    built = codebuild("build", folder, "--base", "python:3.11-slim", "--runtime-wheel", "none")
    assert built.code == 0 and built.data["dockerfile"] == "generated", built
    assert "FROM python:3.11-slim" in built.stderr and not (folder / "Dockerfile").exists()


def test_the_wrapper_builds_the_folder_here(codebuild: CodeBuild) -> None:
    folder = codebuild.project()
    script = PROGRAM.parents[1] / "scripts" / "build-with-codebuild.sh"
    env = {**os.environ, **codebuild.environment(PYTHON=sys.executable)}
    done = subprocess.run([str(script), "--dry-run", "--json"], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "trainyard/net" in done.stdout, done.stderr


@full_images
def test_an_upload_that_breaks_leaves_nothing(codebuild: CodeBuild) -> None:
    """Unfinished parts are aborted; the same call again goes through."""
    folder = codebuild.project()
    (folder / "weights.bin").write_bytes(os.urandom(20 << 20))
    codebuild.aws.fail("s3:UploadPart", "InternalError", "no", status=500, times=50)
    broken = codebuild("build", folder)
    assert (broken.code, broken.error["retryable"]) == (8, True), broken
    store = codebuild.aws.client("s3")
    assert store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == [] and codebuild.builds() == []
    assert store.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_a_bucket_that_cannot_be_tagged_goes_again(codebuild: CodeBuild) -> None:
    """Without its tag nobody would know whose it is."""
    codebuild.aws.fail("s3:PutBucketTagging", "AccessDenied", "no", status=403, times=1)
    refused = codebuild("build", codebuild.project())
    assert refused.code == 4 and codebuild.aws.client("s3").list_buckets()["Buckets"] == [], refused


@full_images
def test_connections_may_break_while_it_waits(codebuild: CodeBuild) -> None:
    """AWS that does not answer for a while is waited for."""
    codebuild.aws.fail("codebuild:BatchGetBuilds", "ThrottlingException", "slow down", times=7, skip=1)
    codebuild.aws.fail("logs:GetLogEvents", "HANG_UP", times=2)
    assert codebuild("build", codebuild.project()).code == 0

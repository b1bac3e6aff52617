"""What is refused before a build begins, with the contract's codes; nothing is made then, and what is not ours stays as it is."""

from __future__ import annotations

import json

import pytest
from codebuild_call import BUCKET, CodeBuild

from tests.components.images.fixtures import full_images


def buckets(codebuild: CodeBuild) -> list[str]:
    return [each["Name"] for each in codebuild.aws.client("s3").list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--compute-type", "BUILD_LAMBDA_4GB"), 2, "Lambda"),
        (("--compute-type", "HUGE"), 2, "no compute type"),
        (("--platform", "linux/s390x"), 2, "linux/s390x"),
        (("--image-tag", "v1;id"), 2, "not a tag"),
        (("--image-name", "a b"), 2, "--image-name"),
        (("--project", "x y"), 2, "CodeBuild project"),
        (("--project", "nobody"), 3, "no CodeBuild project nobody"),
        (("--push", "nobody/there"), 3, "no repository nobody/there"),
        (("--push", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/trainyard/net"), 2, "another registry"),
        (("--bucket", "nobodys-bucket"), 3, "no bucket nobodys-bucket"),
        (("--secret", "id=a,src=/etc/passwd"), 2, "not sent"),
        (("--build-arg", "A=1\n--push"), 2, "--build-arg"),
    ],
)
def test_what_cannot_be_is_said_first(codebuild: CodeBuild, words: tuple[str, ...], code: int, said: str) -> None:
    folder = codebuild.project()
    refused = codebuild("build", folder, *words)
    assert refused.code == code and said in refused.error["message"] and refused.error["hint"], refused
    assert codebuild.builds() == [] and buckets(codebuild) == []


@full_images
def test_a_taken_tag_is_said_before_the_build(codebuild: CodeBuild) -> None:
    """An immutable tag that another source has: exit 5. The control: a tag that may move is moved."""
    folder = codebuild.project()
    assert codebuild("build", folder, "--image-tag", "v1").code == 0
    assert codebuild("build", folder, "--image-tag", "latest").code == 0
    (folder / "train.py").write_text("print(2)\n")
    planned = codebuild("build", folder, "--image-tag", "v1", "--dry-run")
    found = next(each for each in planned.document["checks"] if each["id"] == "registry.tag")
    assert (planned.code, found["status"]) == (1, "fail") and "is taken by sha256:" in found["summary"]
    taken = codebuild("build", folder, "--image-tag", "v1")
    assert (taken.code, taken.error["code"]) == (5, "conflict") and len(codebuild.builds()) == 2, taken
    moved = codebuild("build", folder, "--image-tag", "latest")
    assert moved.code == 0 and moved.data["digest"] == codebuild.digest("trainyard/net", "latest")


@full_images
def test_a_cache_needs_a_tag_that_moves(codebuild: CodeBuild) -> None:
    """In a repository whose tags are all immutable nothing is cached, and the build succeeds."""
    folder = codebuild.project()
    codebuild.repository("strict", mutability="IMMUTABLE")
    assert codebuild("build", folder, "--push", "strict").code == 0
    assert codebuild("build", folder).code == 0
    tags = {
        name: {each.get("imageTag") for each in codebuild.aws.client("ecr").list_images(repositoryName=name)["imageIds"]}
        for name in ("strict", "trainyard/net")
    }
    assert "cache-net" not in tags["strict"] and "cache-net" in tags["trainyard/net"]


def test_somebody_elses_bucket_is_left_alone(codebuild: CodeBuild) -> None:
    """One of that name without our tag is refused, a named one is used as it is; neither is changed."""
    store = codebuild.aws.client("s3")
    store.create_bucket(Bucket=BUCKET)
    folder = codebuild.project()
    refused = codebuild("build", folder)
    assert refused.code == 5 and f"--bucket {BUCKET}" in refused.error["hint"], refused
    used = codebuild("build", folder, "--bucket", BUCKET)
    assert used.code == 0, used
    assert "Status" not in store.get_bucket_versioning(Bucket=BUCKET)
    with pytest.raises(store.exceptions.ClientError, match="NoSuchBucketPolicy"):
        store.get_bucket_policy(Bucket=BUCKET)


def test_a_bucket_that_another_call_is_making_is_ours(codebuild: CodeBuild) -> None:
    """Between CreateBucket and its tags it looks like somebody's; the control is the test before: without tags it stays refused."""
    store = codebuild.aws.client("s3")
    store.create_bucket(Bucket=BUCKET)
    tags = {"TagSet": [{"Key": "app.kubernetes.io/managed-by", "Value": "trainyard"}]}
    codebuild.aws.fail("s3:GetBucketTagging", "NoSuchTagSet", "The TagSet does not exist", status=404, times=2)
    store.put_bucket_tagging(Bucket=BUCKET, Tagging=tags)
    built = codebuild("build", codebuild.project())
    assert built.code == 0, built


@full_images
def test_a_half_made_bucket_is_finished(codebuild: CodeBuild) -> None:
    """The caller was killed behind CreateBucket: tagged, and not ready."""
    store = codebuild.aws.client("s3")
    store.create_bucket(Bucket=BUCKET)
    store.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "app.kubernetes.io/managed-by", "Value": "trainyard"}]})
    assert codebuild("build", codebuild.project()).code == 0
    assert store.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    policy = json.loads(store.get_bucket_policy(Bucket=BUCKET)["Policy"])
    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    rules = store.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert {"DaysAfterInitiation": 1} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]
    assert all(store.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())


@full_images
def test_secrets_stop_the_build(codebuild: CodeBuild) -> None:
    folder = codebuild.project(files={".env": "TOKEN=1\n"})
    refused = codebuild("build", folder)
    assert refused.code == 2 and ".env" in refused.error["message"] and buckets(codebuild) == []
    assert codebuild("build", folder, "--allow-secret-file", ".env").code == 0


def test_nobody_is_signed_in(codebuild: CodeBuild) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    assert codebuild("build", codebuild.project(), env=nobody).error["code"] == "credentials"
    nowhere = {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
    assert codebuild("build", codebuild.project(), env=nowhere).code == 2


def test_a_plan_makes_nothing(codebuild: CodeBuild) -> None:
    """--dry-run: base image, size, minutes and cost from the dated table; where that has no size, unknown."""
    folder = codebuild.project(files={"Dockerfile": "FROM python:3.11-slim\nCOPY . /app\n"})
    plan = codebuild("build", folder, "--dry-run")
    estimate = plan.data["estimate"]
    assert plan.data["compute"]["type"] == "BUILD_GENERAL1_SMALL" and estimate["usd"] > 0 and estimate["minutes"] > 1
    (folder / "Dockerfile").write_text("FROM public.ecr.aws/deep-learning-containers/pytorch:2.13-cu133-amzn2023\n")
    plan = codebuild("build", folder, "--dry-run")
    assert plan.data["compute"]["type"] == "BUILD_GENERAL1_LARGE" and plan.data["estimate"]["image_gb"] > 10
    (folder / "Dockerfile").write_text("FROM example.org/nobody/knows:1\n")
    assert codebuild("build", folder, "--dry-run").data["estimate"]["usd"] is None
    assert codebuild.builds() == [] and buckets(codebuild) == [] and plan.document["changed"] == []
    early = codebuild("build", folder, "--dry-run", "--push", "not/yet", "--project", "nobody")
    assert early.code == 1 and early.check("registry.repository")["status"] == "warn", "it may be made before the build"
    assert early.check("codebuild.project")["status"] == "fail"


TORCH = "FROM python:3.11-slim\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"


@pytest.mark.parametrize(
    ("dockerfile", "requirements", "machine", "least_gb"),
    [
        (TORCH, "torch\n", "LARGE", 6),
        (TORCH, "lightning\n", "LARGE", 6),
        ("FROM python:3.11-slim\nRUN pip install torch\n", "", "LARGE", 6),
        (TORCH, "numpy\n", "SMALL", 1),
        (TORCH, "--index-url https://download.pytorch.org/whl/cpu\ntorch\n", "SMALL", 2),
        ("FROM python:3.11-slim\nCOPY . .\n", "torch\n", "SMALL", 1),
        (TORCH.replace("python:3.11-slim", "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"), "torch\n", "LARGE", 9),
    ],
)
def test_an_estimate_counts_torch(
    codebuild: CodeBuild, dockerfile: str, requirements: str, machine: str, least_gb: float
) -> None:
    """With CUDA's libraries, where the image installs it and its base has none."""
    plan = codebuild(
        "build", codebuild.project(files={"Dockerfile": dockerfile, "requirements.txt": requirements}), "--dry-run"
    )
    assert plan.data["compute"]["type"] == f"BUILD_GENERAL1_{machine}", plan
    assert least_gb <= plan.data["estimate"]["image_gb"] < least_gb + 1

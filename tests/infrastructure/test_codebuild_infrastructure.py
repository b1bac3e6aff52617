"""infrastructure/ for builds: the script, CloudFormation and Terraform make the same, are repeatable, and leave nothing.

Not run here: Terraform's `init` and `apply`, which need the provider from its registry.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path

import codebuild_setups as setups
import pytest
from codebuild_setups import BUCKET, GROUP, PROJECT, REPOSITORY, ROLE, SCRIPT, TEMPLATE

from tests.components.aws.running import EVERYTHING, Aws
from tests.components.images.fixtures import full_images


@pytest.fixture
def script(aws: Aws, aws_command_line: Path):  # type: ignore[no-untyped-def]
    """Calls setup-codebuild.sh with the real AWS command line."""

    def call(*words: str, code: int = 0) -> str:
        env = {**aws.environment, "PATH": f"{aws_command_line}:/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", str(SCRIPT), *words], env=env, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
        )
        assert done.returncode == code, done.stderr[-3000:]
        return done.stderr

    return call


def test_the_template_makes_what_the_module_makes(tmp_path: Path) -> None:
    """Terraform's names and documents are evaluated by terraform itself, without its provider."""
    if not shutil.which("terraform"):
        pytest.skip("by design: there is no terraform on this machine")
    assert setups.of_module(tmp_path) == setups.of_template()


def test_a_difference_between_the_two_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: one action less in a copy of the module."""
    if not shutil.which("terraform"):
        pytest.skip("by design: there is no terraform on this machine")
    copy = tmp_path / "module"
    shutil.copytree(setups.MODULE, copy)
    text = (copy / "names.tf").read_text()
    (copy / "names.tf").write_text(text.replace('          "ecr:PutImage",\n', ""))
    monkeypatch.setattr(setups, "MODULE", copy)
    (tmp_path / "console").mkdir()
    assert setups.of_module(tmp_path / "console") != setups.of_template()


def test_terraform_is_formatted() -> None:
    if not shutil.which("terraform"):
        pytest.skip("by design: there is no terraform on this machine")
    words = ["terraform", "fmt", "-check", "-diff", "-recursive", str(setups.MODULE.parent)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_cloudformation_is_clean() -> None:
    import sys

    words = [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_template_is_applied_and_goes_again(aws: Aws) -> None:
    """By moto's CloudFormation, which makes role, bucket and log group; project and repository are names to it."""
    stacks = aws.client("cloudformation")
    made = stacks.create_stack(StackName="b", TemplateBody=TEMPLATE.read_text(), Capabilities=["CAPABILITY_NAMED_IAM"])
    assert made["StackId"] and stacks.describe_stacks(StackName="b")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    policy = aws.client("iam").get_role_policy(RoleName=ROLE, PolicyName="trainyard-build")["PolicyDocument"]
    # moto keeps what a template says as Python writes it
    policy = ast.literal_eval(policy) if isinstance(policy, str) else policy
    assert policy == setups.of_template()["role"]["policy"]
    store = aws.client("s3")
    assert store.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert aws.client("logs").describe_log_groups()["logGroups"][0]["logGroupName"] == GROUP
    stacks.delete_stack(StackName="b")
    assert store.list_buckets()["Buckets"] == [] and aws.client("iam").list_roles()["Roles"] == []
    assert aws.client("logs").describe_log_groups()["logGroups"] == []


@full_images
def test_the_script_makes_what_the_template_makes(aws: Aws, script) -> None:  # type: ignore[no-untyped-def]
    script()
    assert setups.made(aws) == setups.of_template()


@full_images
def test_the_script_can_be_repeated_and_undone(aws: Aws, script) -> None:  # type: ignore[no-untyped-def]
    """A second run changes nothing, --destroy asks, and with --yes leaves nothing: versions of sources, images and a user's own statements go too."""
    script()
    first = setups.made(aws)
    script()
    assert setups.made(aws) == first
    store = aws.client("s3")
    for body in (b"1", b"2"):
        store.put_object(Bucket=BUCKET, Key="source/a.zip", Body=body)
    store.delete_object(Bucket=BUCKET, Key="source/a.zip")
    iam, own = aws.client("iam"), json.dumps(EVERYTHING)
    iam.put_role_policy(RoleName=ROLE, PolicyName="secrets", PolicyDocument=own)
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=iam.create_policy(PolicyName="p", PolicyDocument=own)["Policy"]["Arn"])
    asked = script("--destroy", code=6)
    assert "with --yes" in asked and all(name in asked for name in (PROJECT, ROLE, BUCKET, GROUP, REPOSITORY)), asked
    script("--destroy", "--yes")
    assert store.list_buckets()["Buckets"] == [] and aws.client("iam").list_roles()["Roles"] == []
    assert aws.client("codebuild").batch_get_projects(names=[PROJECT])["projects"] == []
    assert aws.client("logs").describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"] == []
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert "nothing of it is there" in script("--destroy", "--yes")


@full_images
def test_an_object_that_stays_ends_the_script(aws: Aws, script) -> None:  # type: ignore[no-untyped-def]
    """S3 answers 200 for a version that it may not remove; asking again and again would not end."""
    store = aws.client("s3")
    store.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    tag = {"Key": "app.kubernetes.io/managed-by", "Value": "trainyard"}
    store.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [tag]})
    locked = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2099-01-01"}
    store.put_object(Bucket=BUCKET, Key="source/a", Body=b"a", **locked)
    assert "cannot be removed" in script("--destroy", "--yes", code=4)
    store.delete_object(
        Bucket=BUCKET,
        Key="source/a",
        VersionId=store.list_object_versions(Bucket=BUCKET)["Versions"][0]["VersionId"],
        BypassGovernanceRetention=True,
    )
    script("--destroy", "--yes")
    assert store.list_buckets()["Buckets"] == []


@full_images
def test_regions_of_all_partitions_are_taken(script) -> None:  # type: ignore[no-untyped-def]
    for region in ("eusc-de-east-1", "us-gov-west-1", "cn-north-1"):
        assert region in script("--region", region, "--dry-run")


@full_images
@pytest.mark.parametrize("kind", ["bucket", "role", "repository"])
def test_what_is_not_ours_is_left_alone(aws: Aws, script, kind: str) -> None:  # type: ignore[no-untyped-def]
    """Nothing is made beside it, and --destroy does not touch it."""
    if kind == "bucket":
        aws.client("s3").create_bucket(Bucket=BUCKET)
    elif kind == "role":
        trust = {"Version": "2012-10-17", "Statement": []}
        aws.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))
    else:
        aws.client("ecr").create_repository(repositoryName=REPOSITORY)
    for words in ((), ("--destroy", "--yes")):
        assert f"the {kind} of that name is there" in script(*words, code=5)
    assert aws.client("codebuild").batch_get_projects(names=[PROJECT])["projects"] == []


@pytest.mark.parametrize(
    "words", [("--project", "a b"), ("--bucket", "B"), ("--repository", "A"), ("--region", "x;y"), ("--no",)]
)
def test_wrong_words_are_refused(script, words: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    script(*words, code=2)

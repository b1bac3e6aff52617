"""Each verb of CodeBuild calls what its policy in infrastructure/aws-cli/policies names, and that is enough; so for the project's role."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from codebuild_call import PROJECT, CodeBuild

from tests.components.images.fixtures import full_images
from tests.infrastructure import aws_policies as policies
from tests.infrastructure.codebuild_setups import GROUP, of_template


def as_user(codebuild: CodeBuild, *names: str, without: str = "", name: str = "tester") -> CodeBuild:
    """The same account, with the keys of a user who has these policies."""
    granted = policies.policy(*names, repository="trainyard/net", without=without)
    return replace(codebuild, user=codebuild.aws.user(granted, name))


def exact(codebuild: CodeBuild, *names: str, but: str = "") -> None:
    """What was called is what the policies allow, and nothing was refused."""
    allowed = policies.actions(policies.policy(*names, repository="trainyard/net"))
    allowed -= policies.AFTER_TROUBLE | policies.IN_ANOTHER_CALL | {but}
    assert policies.refused(codebuild.aws, codebuild.user) == set()
    assert policies.called(codebuild.aws, codebuild.user) == allowed


def test_build_needs_its_policy(codebuild: CodeBuild) -> None:
    """Where the bucket is missing, the policy that may make it as well."""
    folder = codebuild.project()
    first = as_user(codebuild, "build", "make-bucket")
    assert first("build", folder).code == 0
    exact(first, "build", "make-bucket", but="s3:GetBucketTagging")
    (folder / "train.py").write_text("print(2)\n")
    second = as_user(codebuild, "build", name="second")
    assert second("build", folder).code == 0
    exact(second, "build")


@full_images
@pytest.mark.parametrize("verb", ["status", "logs", "wait", "cancel", "list"])
def test_each_verb_needs_its_policy(codebuild: CodeBuild, verb: str) -> None:
    folder = codebuild.project()
    if verb == "cancel":
        codebuild.aws.builds_fault(phase="BUILD", slow_s=20)
        build_id = codebuild("build", folder, "--no-wait").data["build_ids"][0]
    else:
        build_id = codebuild("build", folder).data["build_ids"][0]
    user = as_user(codebuild, verb)
    assert user(verb, *([] if verb == "list" else [build_id])).code == 0
    exact(user, verb)


@full_images
def test_a_missing_permission_is_named(codebuild: CodeBuild) -> None:
    """Exit 4 with the statement to add; without the log's permission the build succeeds and the log is missing."""
    folder = codebuild.project()
    user = as_user(codebuild, "build", "make-bucket", without="codebuild:StartBuild")
    refused = user("build", folder)
    assert (refused.code, refused.error["code"]) == (4, "permission"), refused
    statement = json.loads(refused.error["hint"].partition("statement: ")[2])
    assert statement["Action"] == "codebuild:StartBuild" and statement["Resource"].endswith(f":project/{PROJECT}")
    blind = as_user(codebuild, "build", without="logs:GetLogEvents", name="blind")
    built = blind("build", folder)
    assert built.code == 0 and "logs:GetLogEvents" in built.stderr, built


@full_images
def test_the_projects_role_is_enough(codebuild: CodeBuild) -> None:
    """With the policy that the three ways of infrastructure/ give it; and without PutImage the push fails, as the control."""
    granted = of_template()["role"]["policy"]
    codebuild.aws.client("logs").create_log_group(logGroupName=GROUP)
    iam = codebuild.aws.client("iam")
    role = f"{PROJECT}-role"
    folder = codebuild.project()
    less = json.loads(json.dumps(granted).replace('"ecr:PutImage", ', ""))
    iam.put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=json.dumps(less))
    denied = codebuild("build", folder, "--attempts", "1")
    assert denied.code == 4 and denied.data["attempts"][0]["class"] == "registry-denied", denied
    iam.put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=json.dumps(granted))
    assert codebuild("build", folder).code == 0

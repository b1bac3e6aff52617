"""Repositories: made once and whole, and one of the user's is never changed; and who may not, is told what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Made, oci


def test_a_repository_is_made_once(pusher: Pusher) -> None:
    made = pusher.call("ensure-repo", "team/net")
    assert made.code == 0 and len(made.document["changed"]) == 2, made
    found = pusher.ecr().describe_repositories(repositoryNames=["team/net"])["repositories"][0]
    assert found["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION" and found["imageScanningConfiguration"]["scanOnPush"]
    assert [each["filter"] for each in found["imageTagMutabilityExclusionFilters"]] == ["latest", "cache-*", "build-*"]
    tags = pusher.ecr().list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    assert {"Key": "app.kubernetes.io/managed-by", "Value": "trainyard"} in tags
    again = pusher.call("ensure-repo", "team/net")
    assert (again.code, again.document["changed"]) == (0, [])
    assert {check["status"] for check in again.document["checks"]} == {"pass"}


def test_no_rule_reaches_an_image_by_digest(pusher: Pusher, repository: str) -> None:
    policy = json.loads(pusher.ecr().get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    assert [rule["selection"]["tagPatternList"] for rule in policy["rules"]] == [["build-*"], ["cache-*"]]
    assert {rule["selection"]["tagStatus"] for rule in policy["rules"]} == {"tagged"}


def test_a_users_repository_is_not_changed(pusher: Pusher, image: Made) -> None:
    """Its differences are warnings; a rule that deletes untagged images is among them."""
    ecr = pusher.ecr()
    ecr.create_repository(repositoryName="theirs")
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1},
        "action": {"type": "expire"},
    }
    ecr.put_lifecycle_policy(repositoryName="theirs", lifecyclePolicyText=json.dumps({"rules": [rule]}))
    before = ecr.describe_repositories(repositoryNames=["theirs"])["repositories"][0]
    done = pusher.call("ensure-repo", "theirs")
    assert (done.code, done.document["changed"]) == (0, [])
    warned = {check["id"] for check in done.document["checks"] if check["status"] == "warn"}
    assert warned == {"repository.tags", "repository.scan", "repository.lifecycle"}
    assert pusher.call("push", image.word, "--repository", "theirs", "--create", "--tag", "1").code == 0
    assert ecr.describe_repositories(repositoryNames=["theirs"])["repositories"][0] == before
    assert json.loads(ecr.get_lifecycle_policy(repositoryName="theirs")["lifecyclePolicyText"])["rules"] == [rule]


def test_an_exclusion_of_everything_is_seen(pusher: Pusher) -> None:
    """Immutable in name: all tags beginning with v may move."""
    excluded = [{"filterType": "WILDCARD", "filter": each} for each in ("latest", "v*")]
    pusher.ecr().create_repository(
        repositoryName="net", imageTagMutability="IMMUTABLE_WITH_EXCLUSION", imageTagMutabilityExclusionFilters=excluded
    )
    check = pusher.call("ensure-repo", "net").check("repository.tags")
    assert check["status"] == "warn" and "v*" in check["summary"] and "latest" not in check["summary"], check


def test_a_repository_of_ours_is_completed(pusher: Pusher, repository: str) -> None:
    """A call that was killed before it set the policy; one of theirs without a policy stays as it is."""
    pusher.ecr().delete_lifecycle_policy(repositoryName=repository)
    done = pusher.call("ensure-repo", repository)
    assert done.code == 0 and done.document["changed"] == [f"lifecycle policy of repository {repository} in us-east-1"]
    pusher.ecr().create_repository(repositoryName="theirs")
    assert pusher.call("ensure-repo", "theirs").document["changed"] == []


def test_a_dry_run_makes_nothing(pusher: Pusher) -> None:
    done = pusher.call("ensure-repo", "net", "--dry-run")
    row = done.data["regions"][0]
    assert done.code == 0 and row["would_create"]["repositoryName"] == "net" and row["lifecycle_policy"]["rules"]
    assert pusher.ecr().describe_repositories()["repositories"] == []


@pytest.mark.parametrize("verb", ["push", "tags", "verify", "promote"])
def test_an_unknown_repository_is_exit_3(pusher: Pusher, image: Made, verb: str) -> None:
    words = {
        "push": ("push", image.word, "--repository", "net", "--tag", "1"),
        "tags": ("tags", "net"),
        "verify": ("verify", "net:1"),
        "promote": ("promote", "net", "--from", "build-1", "--tag", "1"),
    }[verb]
    hint = {"verify": "--region", "promote": "push ecr:net:build-1"}.get(verb, "ensure-repo net")
    done = pusher.call(*words)
    assert (done.code, done.error["code"]) == (3, "not-found") and hint in done.error["hint"], done
    assert pusher.ecr().describe_repositories()["repositories"] == []


HOSTS = [
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/net",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/net",
    "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws/net",
    "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov/net",
    "public.ecr.aws/alias/net",
]
"""By ECR's own rule these are names of repositories."""


@pytest.mark.parametrize("name", ["Net", "a//b", "-net", "net:1", "a" * 257, "x", "net;id", "127.0.0.1:5000/net", *HOSTS])
def test_wrong_names_are_refused(pusher: Pusher, name: str) -> None:
    done = pusher.call("ensure-repo", "--", name)
    assert done.code == 2 and pusher.aws.actions() == [], done


def test_nobody_signed_in_is_exit_4(pusher: Pusher, image: Made) -> None:
    words = ("push", image.word, "--repository", "net", "--tag", "1")
    done = pusher.call(*words, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert (done.code, done.error["code"]) == (4, "credentials") and "aws sso login" in done.error["hint"], done


@pytest.mark.parametrize("region", ["", "nowhere!", "us east", "-x"])
def test_wrong_regions_are_refused(pusher: Pusher, region: str) -> None:
    assert pusher.call("ensure-repo", "net", f"--region={region}").code == 2


def test_an_empty_profile_is_none(pusher: Pusher, repository: str) -> None:
    """AWS_PROFILE= in the environment, as CI systems leave it; the control is a profile that is not there."""
    assert pusher.call("tags", repository, AWS_PROFILE="").code == 0
    done = pusher.call("tags", repository, AWS_PROFILE="nobody")
    assert (done.code, done.error["code"]) == (4, "credentials") and "nobody" in done.error["message"], done


def test_no_region_is_told(pusher: Pusher) -> None:
    done = pusher.call("ensure-repo", "net", AWS_REGION="", AWS_DEFAULT_REGION="")
    assert done.code == 2 and "--region" in done.error["hint"], done


def test_a_dead_endpoint_is_exit_8(pusher: Pusher) -> None:
    done = pusher.call("tags", "net", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert (done.code, done.error["code"]) == (8, "unreachable"), done


def test_tags_are_listed_with_the_total(pusher: Pusher, repository: str, image: Made) -> None:
    for tag in ("1", "2"):
        pusher.call("push", image.word, "--repository", repository, "--tag", tag)
    done = pusher.call("tags", repository)
    assert done.data["total"] == 1 and done.data["images"][0]["digest"] == image.digest
    assert sorted(done.data["images"][0]["tags"]) == ["1", "2"] and done.data["images"][0]["size_bytes"] > 3_000_000


def test_tags_of_several_regions(pusher: Pusher, repository: str, image: Made, tmp_path: Path) -> None:
    """Each image has its region; one without the repository is exit 1, and the other's images are there."""
    both = ("--region", "us-east-1", "--region", "us-west-2")
    pusher.call("push", image.word, "--repository", repository, "--tag", "1")
    done = pusher.call("tags", repository, *both)
    assert done.code == 1 and [each["region"] for each in done.data["images"]] == ["us-east-1"], done
    other = oci(tmp_path / "other.tar", [b"other"])
    pusher.call("push", other.word, "--repository", repository, "--tag", "2", "--region", "us-west-2", "--create")
    done = pusher.call("tags", repository, *both)
    rows = [(each["region"], each["digest"], each["tags"]) for each in done.data["images"]]
    assert rows == [("us-east-1", image.digest, ["1"]), ("us-west-2", other.digest, ["2"])]
    assert (done.code, done.data["total"]) == (0, 2)

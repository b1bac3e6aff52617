"""Making a repository, and saying where one that exists differs from what would have been made."""

from __future__ import annotations

import json
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell
from ecr_region import Region

MANAGED = {"app.kubernetes.io/managed-by": "trainyard"}
"""The label that all of ours carries; in AWS a tag."""
FREE = ("latest", "cache-*", "build-*")
"""Tags that may move: a pointer, build caches, and images that were not tested yet."""
BUILD_DAYS, CACHE_DAYS = 14, 30


def policy() -> dict[str, Any]:
    """Rules for build and cache tags only. An image that is deployed by digest may have no tag: `untagged` or `any` would delete it."""
    rules = [("build-*", BUILD_DAYS, "images that were not promoted"), ("cache-*", CACHE_DAYS, "layer caches of builds")]
    return {"rules": [_rule(number, *each) for number, each in enumerate(rules, start=1)]}


def _rule(priority: int, pattern: str, days: int, description: str) -> dict[str, Any]:
    selection = {"tagStatus": "tagged", "tagPatternList": [pattern], "countType": "sinceImagePushed"}
    return {
        "rulePriority": priority,
        "description": description,
        "selection": {**selection, "countUnit": "days", "countNumber": days},
        "action": {"type": "expire"},
    }


def request(name: str) -> dict[str, Any]:
    """Of CreateRepository."""
    return {
        "repositoryName": name,
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": each} for each in FREE],
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "AES256"},
        "tags": [{"Key": key, "Value": value} for key, value in MANAGED.items()],
    }


def ensure(region: Region, *, dry_run: bool) -> list[str]:
    """Makes it where it is missing; what was changed, or would be. Raises AwsError."""
    name, where = region.repository, f"repository {region.repository} in {region.name}"
    if region.describe():
        if not _is_unfinished(region):
            return []
        changed = [f"lifecycle policy of {where}"]
    else:
        changed = [where, f"lifecycle policy of {where}"]
        if dry_run:
            return changed
        try:
            with region.asking("make the repository"):
                region.described = region.client.create_repository(**request(name))["repository"]
        except aws.AwsError as error:
            if error.reason != "RepositoryAlreadyExistsException":
                raise
            region.need()  # somebody was quicker
            return []
        _put_policy(region, is_new=True)
        return changed
    if not dry_run:
        _put_policy(region, is_new=False)
    return changed


def _put_policy(region: Region, *, is_new: bool) -> None:
    """Without its policy a repository that was made a moment ago goes again: it has nothing in it."""
    try:
        with region.asking("set the lifecycle policy"):
            region.client.put_lifecycle_policy(repositoryName=region.repository, lifecyclePolicyText=json.dumps(policy()))
    except aws.AwsError as error:
        if is_new:
            try:
                with region.asking("remove the repository again"):
                    region.client.delete_repository(repositoryName=region.repository)
            except aws.AwsError as left:
                error.data["left"] = f"{region.repository} in {region.name}: {left}"
        raise


def _is_unfinished(region: Region) -> bool:
    """Whether it is ours and has no policy: a call was killed between the two."""
    try:
        return is_ours(region) and lifecycle(region) is None
    except aws.AwsError:
        return False


def is_ours(region: Region) -> bool:
    with region.asking("read the tags of the repository"):
        tags = region.client.list_tags_for_resource(resourceArn=region.arn)["tags"]
    found = {each["Key"]: each["Value"] for each in tags}
    return all(found.get(key) == value for key, value in MANAGED.items())


def lifecycle(region: Region) -> dict[str, Any] | None:
    """Its lifecycle policy; None where it has none. Raises AwsError."""
    try:
        with region.asking("read the lifecycle policy"):
            text = region.client.get_lifecycle_policy(repositoryName=region.repository)["lifecyclePolicyText"]
    except aws.AwsError as error:
        if error.reason == "LifecyclePolicyNotFoundException":
            return None
        raise
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def checks(region: Region) -> list[shell.Check]:
    """Where it differs from one that `ensure` makes."""
    described, where = region.described, region.name
    scans = bool(described.get("imageScanningConfiguration", {}).get("scanOnPush"))
    scan = f"aws ecr put-image-scanning-configuration --region {where} --repository-name {region.repository}"
    return [
        _mutability_check(region),
        shell.Check(
            "repository.scan",
            "pass" if scans else "warn",
            f"{where}: images are {'' if scans else 'not '}scanned when they are pushed",
            None,
            None if scans else f"{scan} --image-scanning-configuration scanOnPush=true",
        ),
        _lifecycle_check(region),
    ]


def _mutability_check(region: Region) -> shell.Check:
    id, where = "repository.tags", region.name
    mutability = str(region.described.get("imageTagMutability", "MUTABLE"))
    filters = [str(each.get("filter")) for each in region.described.get("imageTagMutabilityExclusionFilters", [])]
    evidence = " ".join([mutability, *filters])
    if mutability.startswith("IMMUTABLE"):
        if not (more := sorted(set(filters) - set(FREE))):
            return shell.Check(id, "pass", f"{where}: tags are immutable", evidence)
        summary = f"{where}: tags like {', '.join(more)} may become another image"
        return shell.Check(id, "warn", shell.clean(summary, 400), evidence, "deploy by digest")
    change = f"aws ecr put-image-tag-mutability --region {where} --repository-name {region.repository}"
    summary = f"{where}: tags are mutable: a tag may become another image"
    return shell.Check(id, "warn", summary, evidence, f"{change} --image-tag-mutability IMMUTABLE")


def _lifecycle_check(region: Region) -> shell.Check:
    id, where = "repository.lifecycle", region.name
    try:
        found = lifecycle(region)
    except aws.AwsError as error:
        return shell.Check(id, "unknown" if error.code != "permission" else "skipped", f"{where}: {error}", None, error.hint)
    risky = _expiring(found or {})
    if risky:
        fix = "rules on tagPatternList build-* and cache-* only, as `ensure-repo NAME --dry-run` of a new name prints them"
        summary = f"{where}: the lifecycle policy also expires or archives images that are deployed by digest"
        return shell.Check(id, "warn", summary, shell.clean(json.dumps(risky), 400), fix)
    return shell.Check(id, "pass", f"{where}: no rule expires or archives an image that is deployed by digest")


def _expiring(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The selections of rules that may delete an image without a build or cache tag, or archive it: then no node can pull it."""
    rules = found.get("rules", [])
    selections = [
        rule.get("selection", {})
        for rule in (rules if isinstance(rules, list) else [])
        if isinstance(rule, dict) and rule.get("action", {}).get("type") in ("expire", "transition")
    ]
    return [each for each in selections if not _is_ours(each)]


def _is_ours(selection: dict[str, Any]) -> bool:
    patterns = selection.get("tagPatternList") or selection.get("tagPrefixList") or []
    return selection.get("tagStatus") == "tagged" and all(str(each).startswith(("build-", "cache-")) for each in patterns)

"""The bucket that carries sources to CodeBuild: made when it is missing, used as it is when it is named, never changed when it is not ours.

The same bucket as infrastructure/aws-cli, cloudformation and terraform make; tests/infrastructure compares the four.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

import trainyard_shell as shell
from codebuild.account import Account
from trainyard_aws import AwsError, asking

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
OURS = {"Key": "app.kubernetes.io/managed-by", "Value": "trainyard"}
READY = {"Key": "trainyard.dev/ready", "Value": "true"}
"""Set last: a bucket of ours without it was left half-made, and is finished."""
PREFIX = "source/"
TAGGED_WITHIN_S = 3.0
KEEP_DAYS, KEEP_OLD_DAYS, ABORT_DAYS = 30, 7, 1
ENCRYPTION = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}],
}
PRIVATE = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
LIFECYCLE = {
    "Rules": [
        {
            "ID": "trainyard-sources",
            "Status": "Enabled",
            "Filter": {"Prefix": PREFIX},
            "Expiration": {"Days": KEEP_DAYS},
            "NoncurrentVersionExpiration": {"NoncurrentDays": KEEP_OLD_DAYS},
        },
        {
            "ID": "trainyard-unfinished",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
        },
    ]
}


def default_name(account: Account) -> str:
    """Account and region are in it: a bucket's name is the only one in the world."""
    return f"trainyard-builds-{account.id}-{account.region}"


def ensure(account: Account, named: str | None) -> tuple[str, list[str]]:
    """The bucket's name, and what was changed. `named`: the user's own, used as it is.

    Raises SkillError not-found (the named one), conflict (not ours, another account's, another region's), permission.
    """
    name = named or default_name(account)
    tags = _tags(account, name) if named else _settled_tags(account, name)
    if tags is None and named:
        raise shell.SkillError("not-found", f"no bucket {name}", hint=f"aws s3 mb s3://{name}, or leave --bucket out")
    if named or (tags and {**_as_tag(OURS), **_as_tag(READY)}.items() <= tags.items()):
        return name, []
    if tags is not None and not _as_tag(OURS).items() <= tags.items():
        message = f"the bucket {name} is there and was not made by Trainyard; it was left alone"
        raise shell.SkillError("conflict", message, hint=f"--bucket {name} uses it as it is; or tag it {OURS['Key']}=trainyard")
    if tags is None:
        _create(account, name)
    _finish(account, name)
    return name, [f"bucket {name}"]


def _settled_tags(account: Account, name: str) -> dict[str, str] | None:
    """As `_tags`; a bucket without any may have been made by another call of ours a moment ago, which tags it next."""
    until = time.monotonic() + TAGGED_WITHIN_S
    while (tags := _tags(account, name)) == {} and time.monotonic() < until:
        time.sleep(0.3)
    return tags


def _as_tag(tag: dict[str, str]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"]}


def _tags(account: Account, name: str) -> dict[str, str] | None:
    """The tags of a bucket; None where there is no such bucket."""
    if not NAME.fullmatch(name):
        raise shell.SkillError(
            "usage", f"{shell.clean(name, 80)!r} is not a bucket's name", hint="3 to 63 of a-z, 0-9, - and ."
        )
    owner = {"Bucket": name, "ExpectedBucketOwner": account.id}
    try:
        with asking(f"look at the bucket {name}", _arn(account, name)):
            place = account.store.head_bucket(**owner).get("BucketRegion")
    except AwsError as error:
        if error.code == "not-found":
            return None
        if error.code == "permission":
            raise _not_allowed(account, name) from error
        raise
    if place and place != account.region:
        message = f"the bucket {name} is in {place}, the build in {account.region}"
        raise shell.SkillError("conflict", message, hint=f"--region {place}, or a bucket in {account.region}")
    try:
        with asking(f"read the tags of {name}", _arn(account, name)):
            return {each["Key"]: each["Value"] for each in account.store.get_bucket_tagging(**owner)["TagSet"]}
    except AwsError as error:
        if error.reason != "NoSuchTagSet":
            raise
        return {}


def _not_allowed(account: Account, name: str) -> shell.SkillError:
    """S3 answers 403 without words, both to a missing permission and for somebody else's bucket."""
    needed = json.dumps(
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketTagging"], "Resource": _arn(account, name)}
    )
    message = f"the bucket {name} is not this account's ({account.id}), or may not be looked at"
    return shell.SkillError(
        "permission", message, hint=f"--bucket NAME for another one; or a policy needs this statement: {needed}"
    )


def _arn(account: Account, name: str) -> str:
    return f"arn:{account.partition}:s3:::{name}"


def _create(account: Account, name: str) -> None:
    place = {} if account.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
    try:
        with asking(f"make the bucket {name}", _arn(account, name)):
            account.store.create_bucket(Bucket=name, ObjectOwnership="BucketOwnerEnforced", **place)
    except AwsError as error:
        if error.reason != "BucketAlreadyOwnedByYou":  # by another call of ours, since it was looked for
            raise
    shell.progress(f"made the bucket {name}")
    try:
        _tag(account, name, OURS)
    except AwsError:
        with asking(f"remove the bucket {name}", _arn(account, name)):
            account.store.delete_bucket(Bucket=name, ExpectedBucketOwner=account.id)
        raise


def _finish(account: Account, name: str) -> None:
    """Everything that makes it private and tidy; the same calls again change nothing."""
    owner = {"Bucket": name, "ExpectedBucketOwner": account.id}
    with asking(f"set up the bucket {name}", _arn(account, name)):
        store = account.store
        store.put_public_access_block(**owner, PublicAccessBlockConfiguration=PRIVATE)
        store.put_bucket_encryption(**owner, ServerSideEncryptionConfiguration=ENCRYPTION)
        store.put_bucket_versioning(**owner, VersioningConfiguration={"Status": "Enabled"})
        store.put_bucket_lifecycle_configuration(**owner, LifecycleConfiguration=LIFECYCLE)
        store.put_bucket_policy(**owner, Policy=json.dumps(tls_only(_arn(account, name))))
    _tag(account, name, OURS, READY)


def tls_only(arn: str) -> dict[str, Any]:
    """Nobody reads or writes it without TLS."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _tag(account: Account, name: str, *tags: dict[str, str]) -> None:
    with asking(f"tag the bucket {name}", _arn(account, name)):
        account.store.put_bucket_tagging(Bucket=name, ExpectedBucketOwner=account.id, Tagging={"TagSet": list(tags)})

"""The policies of infrastructure/aws-cli/policies, filled in for the stand-in's account, and what is called with their users' keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.components.aws.running import Aws

FOLDER = Path(__file__).resolve().parents[2] / "infrastructure" / "aws-cli" / "policies"
NAMES = {"REGION": "us-east-1", "ACCOUNT": "123456789012", "EXECUTION_ROLE": "hyperpod"}
UNASKED = {"sts:GetCallerIdentity"}
"""Everybody may; no policy needs it."""
AFTER_TROUBLE = {"s3:DeleteBucket", "s3:AbortMultipartUpload"}
"""Called only where something else has failed."""
AT_CTRL_C = {"codebuild:StopBuild"}
"""Of a test, whose answer is lost then."""
IN_ANOTHER_CALL = {"s3:PutBucketOwnershipControls", "ecr:TagResource"}
"""Asked for by AWS within another call, and not by the stand-in: S3's reference of CreateBucket (`x-amz-object-ownership`), ECR's of
CreateRepository (`tags`)."""


def policy(*names: str, repository: str = "-", cluster: str = "*", without: str = "") -> dict[str, Any]:
    """The statements of these policies; `cluster`: the last part of its ARN; `without`: an action that is left out."""
    statements = []
    for name in names:
        text = (FOLDER / f"{name}.json").read_text().replace("REPOSITORY", repository).replace("CLUSTER_ID", cluster)
        for word, value in NAMES.items():
            text = text.replace(word, value)
        statements += json.loads(text)["Statement"]
    for each in statements:
        each["Action"] = [action for action in each["Action"] if action != without]
    return {"Version": "2012-10-17", "Statement": [each for each in statements if each["Action"]]}


def actions(document: dict[str, Any]) -> set[str]:
    return {action for each in document["Statement"] for action in each["Action"]}


def called(aws: Aws, user: dict[str, str]) -> set[str]:
    """What was asked with a user's keys, allowed or not."""
    return {each["action"] for each in aws.actions(user)} - UNASKED


def refused(aws: Aws, user: dict[str, str]) -> set[str]:
    return {each["action"] for each in aws.actions(user) if not each["allowed"]}

"""The packed source goes to the bucket under the name of its own content: once, in parts, in parallel."""

from __future__ import annotations

import datetime
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from codebuild.account import Account
from codebuild.bucket import KEEP_DAYS, PREFIX
from trainyard_aws import AwsError, asking

PART_BYTES, THREADS = 8 << 20, 8
FRESH_DAYS = KEEP_DAYS - 5
"""An older object could expire before the build reads it: it is sent again."""
TELL_S = 1.0


@dataclass(frozen=True)
class Source:
    """Where CodeBuild finds it."""

    bucket: str
    key: str
    version: str | None
    """None: the bucket keeps no versions; the key names the content all the same."""
    sent_bytes: int
    """0: it was there."""

    @property
    def location(self) -> str:
        return f"{self.bucket}/{self.key}"


def there(account: Account, bucket: str, digest: str) -> Source | None:
    """The source of this content, None where the bucket does not have it, or not for much longer. An object is whole or not there."""
    key = f"{PREFIX}{digest}.zip"
    found = _head(account, bucket, key)
    return Source(bucket, key, _version(found), 0) if found and _is_fresh(found["LastModified"]) else None


def send(account: Account, bucket: str, archive: Path, digest: str) -> Source:
    """Raises SkillError by S3's refusals; an upload that breaks off leaves nothing (unfinished parts are aborted)."""
    key, size = f"{PREFIX}{digest}.zip", archive.stat().st_size
    _upload(account, bucket, key, archive, size)
    sent = _head(account, bucket, key)
    if not sent or sent["ContentLength"] != size:
        message = f"s3://{bucket}/{key} does not hold what was sent"
        raise shell.SkillError("unreachable", message, hint="the same call again", retryable=True)
    return Source(bucket, key, _version(sent), size)


def _is_fresh(at: datetime.datetime) -> bool:
    return datetime.datetime.now(datetime.UTC) - at < datetime.timedelta(days=FRESH_DAYS)


def _version(head: dict[str, Any]) -> str | None:
    version = head.get("VersionId")
    return str(version) if version and version != "null" else None


def _head(account: Account, bucket: str, key: str) -> dict[str, Any] | None:
    """None where the object is not there. Without s3:ListBucket S3 says 403 instead of 404."""
    try:
        with asking(f"look for s3://{bucket}/{key}", _object_arn(account, bucket)):
            head: dict[str, Any] = account.store.head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account.id)
        return head
    except AwsError as error:
        if error.code != "not-found":
            raise
        return None


def _object_arn(account: Account, bucket: str) -> str:
    return f"arn:{account.partition}:s3:::{bucket}/{PREFIX}*"


def _upload(account: Account, bucket: str, key: str, archive: Path, size: int) -> None:
    import boto3.exceptions
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=2 * PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=THREADS)
    extra = {"ExpectedBucketOwner": account.id, "ContentType": "application/zip"}
    shown = _Progress(size)
    try:
        with asking(f"upload the source to s3://{bucket}", _object_arn(account, bucket)):
            try:
                account.store.upload_file(str(archive), bucket, key, ExtraArgs=extra, Config=config, Callback=shown)
            except boto3.exceptions.S3UploadFailedError as error:
                raise (error.__context__ or error) from error  # botocore's own error, which `asking` knows
    except boto3.exceptions.Boto3Error as error:
        raise shell.SkillError(
            "unreachable", f"cannot upload the source to s3://{bucket}: {error}", hint="the same call again", retryable=True
        ) from error
    shown.end()


class _Progress:
    """A line a second; boto3 calls it from several threads."""

    def __init__(self, size: int) -> None:
        self.size, self.sent, self.began, self.told = size, 0, time.monotonic(), 0.0
        self.lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self.lock:
            self.sent += count
            now = time.monotonic()
            if now - self.told < TELL_S or self.sent >= self.size:
                return
            self.told = now
            shell.progress(f"upload: {100 * self.sent // max(1, self.size)}% of {self.size / 1e6:.1f} MB")

    def end(self) -> None:
        shell.progress(f"upload: {self.size / 1e6:.1f} MB in {time.monotonic() - self.began:.1f} s")

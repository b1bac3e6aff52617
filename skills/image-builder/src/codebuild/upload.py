"""The source goes to the bucket under the name of its own content: once, in parts, in parallel, packed on the way."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from build_context.archive import Stream
from codebuild.account import Account
from codebuild.bucket import KEEP_DAYS, PREFIX
from trainyard_aws import AwsError, asking

PART_BYTES, MAX_PARTS, THREADS = 8 << 20, 10_000, 8
"""Of 8 MB, more where S3 would not take so many."""
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


def send(account: Account, bucket: str, archive: Stream, about_bytes: int, digest: str) -> Source:
    """Sends it while it is packed; `about_bytes` says how large the parts must be. Raises SkillError by S3's refusals.

    An upload that breaks off leaves nothing (unfinished parts are aborted).
    """
    key = f"{PREFIX}{digest}.zip"
    with contextlib.closing(archive):
        size = _upload(account, bucket, key, archive, about_bytes)
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


def _upload(account: Account, bucket: str, key: str, archive: Stream, about_bytes: int) -> int:
    """Returns how many bytes were sent."""
    from boto3.s3.transfer import TransferConfig

    part_bytes = max(PART_BYTES, about_bytes // (MAX_PARTS - 1000))
    config = TransferConfig(multipart_threshold=2 * part_bytes, multipart_chunksize=part_bytes, max_concurrency=THREADS)
    extra = {"ExpectedBucketOwner": account.id, "ContentType": "application/zip"}
    shown = _Progress(archive, about_bytes)
    with asking(f"upload the source to s3://{bucket}", _object_arn(account, bucket)):
        account.store.upload_fileobj(shown, bucket, key, ExtraArgs=extra, Config=config, Callback=shown.add)
    shown.end()
    return shown.size


class _Progress:
    """Hands on what is read, and says once a second how much was sent; boto3 calls `add` from several threads."""

    def __init__(self, archive: Stream, about_bytes: int) -> None:
        self.archive, self.about_bytes, self.size, self.sent = archive, about_bytes, 0, 0
        self.began, self.told, self.lock = time.monotonic(), 0.0, threading.Lock()

    def read(self, size: int = -1) -> bytes:
        found = self.archive.read(size)
        self.size += len(found)
        return found

    def add(self, count: int) -> None:
        with self.lock:
            self.sent += count
            now = time.monotonic()
            if now - self.told < TELL_S:
                return
            self.told = now
            shell.progress(f"upload: {self.sent / 1e6:.1f} of at most {self.about_bytes / 1e6:.1f} MB")

    def end(self) -> None:
        shell.progress(f"upload: {self.size / 1e6:.1f} MB in {time.monotonic() - self.began:.1f} s")

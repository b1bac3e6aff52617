"""A build's log in CloudWatch Logs, written by its service role in batches, with CodeBuild's own lines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Any

from tests.components.aws.codebuild.build import Build, PhaseFailed
from tests.components.aws.world import ACCOUNT

FLUSH_S = 0.2
BATCH = 1000
"""Lines; AWS takes 10,000 or 1 MB in one call."""
LINE_CHARS = 8000
RECENT = 2000


class Log:
    """`line` takes one line of output; `tick` is called often and sends what is due."""

    def __init__(self, client: Any, build: Build) -> None:
        self.client, self.build = client, build
        self.waiting: list[tuple[float, str]] = []
        self.sent_at = time.monotonic()
        self.recent: deque[str] = deque(maxlen=RECENT)
        """The last lines, for the patterns of on-failure."""
        self.masked: list[str] = []
        """Values of secrets, shown as ***."""
        config = build.settings.get("logsConfig", {}).get("cloudWatchLogs", {})
        id = build.id.partition(":")[2]
        self.group = config.get("groupName") or f"/aws/codebuild/{build.project}"
        self.stream = f"{config['streamName']}/{id}" if config.get("streamName") else id
        self.on = config.get("status", "ENABLED") == "ENABLED"

    def open(self) -> None:
        """Make group and stream, and show them in the build. Raises PhaseFailed where the role may not."""
        if not self.on:
            self.build.update(logs={"cloudWatchLogs": {"status": "DISABLED"}})
            return
        region = self.build.region
        arn = f"arn:aws:logs:{region}:{ACCOUNT}:log-group:{self.group}:log-stream:{self.stream}"
        logs = {
            "groupName": self.group,
            "streamName": self.stream,
            "deepLink": f"https://console.aws.amazon.com/cloudwatch/home?region={region}#logEvent:group={self.group};stream={self.stream}",
            "cloudWatchLogsArn": arn,
            "cloudWatchLogs": {"status": "ENABLED"},
        }
        self.build.update(logs=logs)
        if self.build.fault.log == "lost":
            self.on = False
            return
        self.make()

    def make(self) -> None:
        """Raises PhaseFailed, as CodeBuild does: FAILED and ACCESS_DENIED with this sentence in every record seen, never FAULT. The phase
        is PROVISIONING in records of 2017 and QUEUED in newer ones. That a group which may not be made is told so too is assumed."""
        from botocore.exceptions import ClientError

        try:
            self.make_stream()
        except ClientError as error:
            self.on = False
            raise PhaseFailed(
                "ACCESS_DENIED",
                f"Service role {self.build.settings['serviceRole']} does not allow AWS CodeBuild to create Amazon CloudWatch "
                f"Logs log streams for build {self.build.arn}. Error message: {error.response['Error']['Message']}",
            ) from error

    def make_stream(self) -> None:
        try:
            self.create(self.client.create_log_stream, logGroupName=self.group, logStreamName=self.stream)
        except self.client.exceptions.ResourceNotFoundException:
            self.create(self.client.create_log_group, logGroupName=self.group)
            self.create(self.client.create_log_stream, logGroupName=self.group, logStreamName=self.stream)

    def create(self, call: Any, **names: str) -> None:
        """Another build may have made the group in the meantime."""
        with contextlib.suppress(self.client.exceptions.ResourceAlreadyExistsException):
            call(**names)

    def container(self, text: str) -> None:
        """A line of CodeBuild's own."""
        self.line(f"[Container] {time.strftime('%Y/%m/%d %H:%M:%S', time.gmtime())}.{time.time_ns() // 1000 % 10**6:06} {text}")

    def line(self, text: str) -> None:
        for value in self.masked:
            text = text.replace(value, "***")
        self.recent.append(text)
        if self.on:
            self.waiting.append((time.time(), text[:LINE_CHARS]))
            self.tick()

    @property
    def late_s(self) -> float:
        return self.build.fault.log_late_s if self.build.fault.log == "late" else 0.0

    def tick(self) -> None:
        if self.waiting and (time.monotonic() - self.sent_at > FLUSH_S + self.late_s or len(self.waiting) >= BATCH):
            self.flush()

    def close(self) -> None:
        """The last lines; those of a late log come when the build has ended."""
        if not self.late_s:
            self.flush()
            return
        last = threading.Timer(self.late_s, self.flush)
        last.daemon = True
        last.start()

    def flush(self) -> None:
        """Everything that waits; a log that cannot be written does not fail a build."""
        from botocore.exceptions import BotoCoreError, ClientError

        batch, self.waiting, self.sent_at = self.waiting, [], time.monotonic()
        for start in range(0, len(batch), BATCH):
            events = [{"timestamp": int(at * 1000), "message": f"{text}\n"} for at, text in batch[start : start + BATCH]]
            try:
                self.client.put_log_events(logGroupName=self.group, logStreamName=self.stream, logEvents=events)
            except (BotoCoreError, ClientError):
                self.on = False
                return

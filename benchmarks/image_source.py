"""What it costs to send a project's source to a build: build_image_codebuild.py against zip and the AWS command line, to one S3 server.

Ours is the whole call of `build --no-wait`: it also looks for secrets, asks five services and starts a build. That build ends in the
queue. The S3 server stores every byte; everything but S3 is AWS's stand-in (tests/components/aws).
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sysconfig
import time
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.images import PROGRAMS, measured, ours, peers, places
from benchmarks.measuring import Bound, Comparison, Group
from tests.components.aws import needs as aws_needs
from tests.components.aws.running import Aws
from tests.components.aws.running import running as aws_running
from tests.components.aws.world import ACCOUNT, ROOT_KEY, ROOT_SECRET
from tests.components.build_host import tools
from tests.components.s3_server import gateway

FIRST, AGAIN, PEER = "build --no-wait, a new project", "build --no-wait, unchanged", "zip -qr, then aws s3 cp"
RANDOM_FILES, RANDOM_BYTES = 200, 600_000
TEXT_FILES, TEXT_BYTES = 1_799, 44_444
"""With the Dockerfile 2,000 files and 200 MB."""
THREE_TIMES, MAX_SIZE, MAX_AGAIN_S = 1 / 3, 1.1, 1.0
BUCKET, PEER_KEY, REPOSITORY = "trainyard-bench", "peer.zip", "trainyard/project"
TRUSTED_S = 2.5
"""A file is read again until it is this old: it may have changed within a tick of the clock."""


def reason_against() -> str | None:
    """What is missing is built."""
    if not shutil.which("zip"):
        return "there is no program zip"
    if reason := aws_needs.reason_against() or tools.reason_against() or gateway.reason_against():
        return reason
    tools.make()
    gateway.make()
    return None


def run(root: Path, folder: Path, repeats: int) -> Group:
    project = make_project(folder / "project")
    time.sleep(TRUSTED_S)
    with ExitStack() as stack:
        aws = stack.enter_context(aws_running(folder / "aws.log"))
        server = stack.enter_context(gateway.running(ROOT_KEY, ROOT_SECRET))
        server.make_bucket(BUCKET, ACCOUNT)
        bench = _Bench(root, folder, project, aws, server.endpoint)
        series, notes = measured({FIRST: bench.first, AGAIN: bench.again, PEER: bench.peer}, repeats)
        bench.refuse_damage()
    comparison = Comparison("a project of 2,000 files packed and sent", series[FIRST], series[PEER], THREE_TIMES)
    bounds = [
        Bound("size of our ZIP, of zip's", tuple(bench.sizes), MAX_SIZE, "x"),
        Bound("the same project again", series[AGAIN].seconds, MAX_AGAIN_S),
    ]
    return Group("source of an image, 200 MB", list(series.values()), [comparison], [server_told(), *notes], bounds)


def server_told() -> str:
    return f"S3 server: versitygw {gateway.version()}; the AWS command line: {tools.version('AWSCLI')}; both sides over HTTP"


def make_project(folder: Path) -> Path:
    """Random bytes, and texts cut from the standard library's own source."""
    chance = random.Random(0)
    library = Path(sysconfig.get_path("stdlib"))
    text = b"".join(
        path.read_bytes() for path in sorted(library.rglob("*.py")) if not {"site-packages", "test"}.intersection(path.parts)
    )
    for number in range(RANDOM_FILES):
        _write(folder / "weights" / str(number % 10) / f"{number}.bin", chance.randbytes(RANDOM_BYTES))
    for number in range(TEXT_FILES):
        at = number * TEXT_BYTES % (len(text) - TEXT_BYTES)
        _write(folder / "source" / str(number % 60) / f"{number}.txt", text[at : at + TEXT_BYTES])
    _write(folder / "Dockerfile", b"FROM scratch\nCOPY . /app\n")
    return folder


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@dataclass
class _Bench:
    root: Path
    folder: Path
    project: Path
    aws: Aws
    endpoint: str

    def __post_init__(self) -> None:
        self.sizes: list[float] = []
        own = {**self.aws.environment, "AWS_ENDPOINT_URL_S3": self.endpoint}
        self.env = places(self.folder, **own, PATH=f"{tools.aws_folder() / 'bin'}:{places(self.folder)['PATH']}")

    @property
    def store(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ROOT_KEY,
            aws_secret_access_key=ROOT_SECRET,
        )

    def first(self) -> float:
        """Nothing of it is known here, nothing in the bucket."""
        shutil.rmtree(self.folder / "cache")
        (self.folder / "cache").mkdir()
        for each in self._objects("source/"):
            self.store.delete_object(Bucket=BUCKET, Key=each["Key"])
        return self._build(sends=True)

    def again(self) -> float:
        return self._build(sends=False)

    def peer(self) -> float:
        archive = self.folder / "peer.zip"
        archive.unlink(missing_ok=True)
        packing = ["zip", "-qr", archive, "."]
        sending = ["aws", "s3", "cp", archive, f"s3://{BUCKET}/{PEER_KEY}"]
        seconds = peers(packing, sending, env=self.env, folder=self.project)
        for each in self._objects("source/"):
            self.sizes.append(each["Size"] / archive.stat().st_size)
        return seconds

    def _account(self) -> None:
        """As new, so that no round finds more builds than the one before."""
        self.aws.reset()
        self.aws.make_project("trainyard-image-builder")
        self.aws.builds_fault(phase="QUEUED", status_code="CLIENT_ERROR")
        self.aws.client("ecr").create_repository(repositoryName=REPOSITORY)

    def _build(self, *, sends: bool) -> float:
        self._account()
        words = ("build", self.project, "--no-wait", "--bucket", BUCKET, "--push", REPOSITORY)
        ran = ours(self.root / PROGRAMS / "build_image_codebuild.py", *words, env=self.env)
        if any(each.startswith("s3://") for each in ran.document["changed"]) != sends:
            raise RuntimeError(f"the source {'was not' if sends else 'was'} sent: {ran.document['changed']}")
        return ran.seconds

    def _objects(self, prefix: str) -> list[dict[str, Any]]:
        return list(self.store.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents") or [])

    def refuse_damage(self) -> None:
        """What lies on the server is the project. Raises RuntimeError."""
        (held,) = self._objects("source/")
        copy, out = self.folder / "held.zip", self.folder / "held"
        self.store.download_file(BUCKET, held["Key"], str(copy))
        with zipfile.ZipFile(copy) as archive:
            archive.extractall(out)
        done = subprocess.run(["diff", "-r", str(self.project), str(out)], capture_output=True, text=True)
        if done.stdout.strip() != f"Only in {out}: .trainyard-build":
            raise RuntimeError(f"the source on the server is another one: {done.stdout[:500]}")

"""What a job reads and writes: files, disks, batches, loader workers, NaN."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small or read-only disk of its own at `folder`."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


SMALL_SHM = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=256k tmpfs /dev/shm && exec "$@"', "--")


@case("file-missing-one-rank", cause="file-missing", rank=1, restart="STOP", proof="FileNotFoundError")
def shard_missing(bench: Bench) -> None:
    """Shard 1 was never copied; torchrun prefixes the ranks (--tee 3)."""
    (bench.work / "data").mkdir()
    for shard in (0, 2, 3):
        (bench.work / f"data/part-{shard:05d}.npy").write_bytes(bytes(64))
    bench.script("ranked", sample='if step == 1: self.shard = (self.args.data / f"part-{self.rank:05d}.npy").read_bytes()')
    log = torchrun(bench, "train.py", flags=("--standalone", "--tee", "3", "--log-dir", str(bench.work / "logs")))
    bench.write("train.log", log.read_bytes())


@case(
    "file-missing-one-node",
    cause="file-missing",
    rank=2,
    also_rank=(3, "any"),
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    proof="FileNotFoundError",
)
def node_without_data(bench: Bench) -> None:
    """The second node has no data set under its path."""
    (bench.work / "fsx").mkdir()
    (bench.work / "fsx/tokens.bin").write_bytes(bytes(4096))
    bench.script("ranked", setup='self.tokens = open(os.environ["TOKENS"], "rb").read()')
    envs = ({"TOKENS": str(bench.work / "fsx/tokens.bin")}, {"TOKENS": "/mnt/fsx/tokens.bin"})
    bench.pods(two_nodes(bench, "train.py", launcher="launch", envs=envs))


@case("read-only-checkpoints", cause="file-permission", rank=0, restart="STOP", proof="Read-only file system")
def read_only(bench: Bench) -> None:
    """Rank 0 saves to a file system that is mounted read-only; the others wait in the barrier behind the save."""
    save = 'if rank == 0: torch.save(model.state_dict(), "output/step-20.pt")\ndist.barrier()'
    bench.script("plain", after=f"if step == 20:\n    {save.replace(chr(10), chr(10) + '    ')}")
    with mounted(bench.work / "output", "ro"):
        bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case(
    "permission-denied-all", cause="file-permission", rank="all", also_rank=("any", 0), restart="STOP", proof="PermissionError"
)
def permission_denied(bench: Bench) -> None:
    """The job's user may not read the tokenizer file."""
    path = bench.work / "tokenizer.json"
    path.write_text("{}")
    path.chmod(0o600)
    bench.work.chmod(0o755)
    bench.script(
        "ranked", imports="os.setgid(65534)\nos.setuid(65534)", setup='self.tokenizer = Path("tokenizer.json").read_text()'
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case(
    "disk-full-checkpoint",
    cause="disk-full",
    rank=0,
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    proof="No space left|writing file",
)
def disk_full(bench: Bench) -> None:
    """The checkpoint disk is full as rank 0 saves; a run of local-runner, which tries twice."""
    save = 'torch.save({"model": self.model.state_dict(), "pad": torch.zeros(200_000)}, f"saved/step-{step}.pt")'
    bench.script("ranked", after=f"if step % 5 == 0 and self.rank == 0:\n    {save}")
    with mounted(bench.work / "saved", "size=1200k"):
        folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "1", "--backoff-s", "0"))
        waited(bench, folder)
    bench.keep_run(folder)


@case(
    "disk-full-cache-rank-3",
    cause="disk-full",
    rank=3,
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    proof=r"\[Errno 28\] No space left on device",
)
def cache_full(bench: Bench) -> None:
    """Rank 3's cache of tokenised samples does not fit."""
    bench.script(
        "caught",
        setup='global cache\ncache = open(f"cache/rank{RANK}.bin", "wb", buffering=0)',
        step="if RANK == 3: cache.write(bytes(65536))",
    )
    with mounted(bench.work / "cache", "size=1m"):
        bench.write("slurm-88123.log", torchrun(bench, "train.py").read_bytes())


@case(
    "nan-raised",
    cause="nan-loss",
    rank="all",
    also_rank=("any", 0, 1),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="(?i)nan",
)
def nan_raised(bench: Bench) -> None:
    """The loss becomes NaN at step 21, and each rank's check ends it."""
    bench.script(
        "ranked",
        loop='if step == 21: self.optimizer.param_groups[0]["lr"] = float("inf")',
        after='if loss != loss: raise FloatingPointError(f"loss is nan at step {step}")',
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case(
    "nan-goes-on",
    cause="nan-loss",
    rank="all",
    also_rank=("any", 0),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="(?i)loss nan",
)
def nan_goes_on(bench: Bench) -> None:
    """Nobody looks at the loss: NaN from step 9 on, and exit code 0."""
    bench.script("plain", step='if step == 9: x = x * float("inf")')
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "0"))
    waited(bench, folder)
    bench.keep_run(folder)


@case("bad-batch-same-step", cause="bad-batch", also=("script-error",), rank=2, restart="STOP", proof="cannot decode record")
def bad_batch(bench: Bench) -> None:
    """Record 58 is damaged: rank 2 dies at the same step in each of three attempts."""
    bench.script(
        "ranked",
        sample='record = b"{" if (step, self.rank) == (14, 2) else b"{}"\n'
        'try:\n    json.loads(record)\nexcept ValueError as error:\n    raise RuntimeError(f"cannot decode record {step * 4 + 2}") from error',
        imports="import json",
    )
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "2", "--backoff-s", "0"))
    waited(bench, folder)
    bench.keep_run(folder)


@case("loader-worker-killed", cause="loader-death", rank=1, restart="RESTART", proof="DataLoader worker")
def loader_killed(bench: Bench) -> None:
    """A loader worker of rank 1 is killed."""
    bench.script("plain", imports="import signal", sample="if i == 97: os.kill(os.getpid(), signal.SIGKILL)")
    bench.write("train.log", torchrun(bench, "train.py", env={"WORKERS": "2"}).read_bytes())


@case(
    "loader-exception",
    cause="script-error",
    also=("bad-batch",),
    rank=0,
    restart="STOP",
    also_restart=("RESTART",),
    proof="Caught ValueError",
)
def loader_exception(bench: Bench) -> None:
    """An exception in a loader worker of rank 0, which is shown twice."""
    bench.script("plain", sample='if i == 104: raise ValueError(f"sample {i}: image has 1 channel, 3 expected")')
    bench.write("train.log", torchrun(bench, "train.py", env={"WORKERS": "2"}).read_bytes())


@case(
    "shared-memory-too-small",
    cause="bus-error",
    also=("loader-death",),
    rank="any",
    also_rank=(0, 1, 2, 3, "all"),
    restart="STOP",
    also_restart=("RESTART",),
    proof="(?i)shared memory|bus error|shm",
)
def small_shm(bench: Bench) -> None:
    """/dev/shm of 256 KiB, as in a container without a memory volume; loader workers share tensors through it."""
    bench.script("plain", sample="return torch.randn(20_000), torch.tensor(i % 2)", step="x = x[:, :32]")
    bench.pods([torchrun(bench, "train.py", wrap=SMALL_SHM, env={"WORKERS": "2"}).read_bytes()], procs=4)


@case(
    "nan-with-records",
    cause="nan-loss",
    rank="all",
    also_rank=("any", 0, 1),
    restart="RESTART_OLDER",
    also_restart=("STOP",),
    proof="(?i)nan",
)
def nan_records(bench: Bench) -> None:
    """A run with Trainyard's records: NaN from step 18 on, which it meets again after its restart."""
    bench.script("yard", step='if step >= 17: loss = loss * float("nan")')
    env = {"TRAINYARD_ROLLING_STEPS": "5"}
    folder = local(bench, "torchrun", "train.py", procs=2, options=("--max-restarts", "1", "--backoff-s", "0"), env=env)
    waited(bench, folder)
    bench.keep_run(folder)

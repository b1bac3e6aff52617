"""Nodes that do not find each other: all of these happen before a rank is started."""

from __future__ import annotations

import socket

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import free_port, torchrun
from tests.doctor_corpus.truth import case

LAUNCHER = ("any", "all", None)


def static(address: str, port: int, node: int) -> tuple[str, ...]:
    return ("--nnodes=2", f"--node-rank={node}", f"--master-addr={address}", f"--master-port={port}", "--rdzv-conf=timeout=8")


@case(
    "second-node-never-comes",
    cause="rendezvous-failed",
    rank="launcher",
    also_rank=(*LAUNCHER, 4, 0),
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE",),
    proof="Timed out|RendezvousTimeoutError|Timeout",
)
def alone(bench: Bench) -> None:
    """The first of two nodes waits for the second, which never starts (static rendezvous)."""
    bench.script("ranked")
    log = torchrun(bench, "train.py", flags=static("127.0.0.1", free_port(), 0), env={"PG_TIMEOUT": "8"})
    bench.pods([log.read_bytes()], procs=4, world_size=8)


@case(
    "c10d-rendezvous-timeout",
    cause="rendezvous-failed",
    rank="launcher",
    also_rank=LAUNCHER,
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE",),
    proof="Rendezvous",
)
def elastic(bench: Bench) -> None:
    """The same with the elastic rendezvous (c10d)."""
    bench.script("plain")
    flags = (
        "--nnodes=2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{free_port()}",
        "--rdzv-id=job7",
        "--rdzv-conf=join_timeout=6,timeout=6",
    )
    bench.write("slurm-501.out.log", torchrun(bench, "train.py", flags=flags).read_bytes())


@case(
    "master-not-reachable",
    cause="rendezvous-failed",
    also=("connection-refused",),
    rank="launcher",
    also_rank=(*LAUNCHER, 0, 2),
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE",),
    proof="(?i)refused|connect",
)
def no_master(bench: Bench) -> None:
    """The second node's launcher finds nobody at the master's port (c10d)."""
    bench.script("plain")
    flags = (
        "--nnodes=2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{free_port()}",
        "--rdzv-id=job7",
        "--rdzv-conf=is_host=0,timeout=6,read_timeout=6",
    )
    bench.write("node1.log", torchrun(bench, "train.py", flags=flags, procs=2).read_bytes())


@case(
    "master-name-unknown",
    cause="name-resolution",
    also=("rendezvous-failed",),
    rank="launcher",
    also_rank=LAUNCHER,
    restart="RESTART",
    also_restart=("STOP",),
    proof="(?i)name or service not known|gai error|not known",
)
def unknown_name(bench: Bench) -> None:
    """The master's name does not resolve (c10d)."""
    bench.script("plain")
    flags = (
        "--nnodes=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=pretrain-master-0.pretrain.invalid:29400",
        "--rdzv-id=job7",
        "--rdzv-conf=is_host=0,timeout=6,read_timeout=6",
    )
    bench.pods([torchrun(bench, "train.py", flags=flags, procs=2).read_bytes()], procs=2)


@case(
    "port-in-use",
    cause="port-in-use",
    rank="launcher",
    also_rank=(*LAUNCHER, 0),
    restart="RESTART",
    also_restart=("STOP", "RESTART_ELSEWHERE"),
    proof="EADDRINUSE|[Aa]ddress already in use",
)
def port(bench: Bench) -> None:
    """Another program listens on the master's port."""
    bench.script("plain")
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        flags = ("--master-port", str(taken.getsockname()[1]))
        bench.write("train.log", torchrun(bench, "train.py", flags=flags).read_bytes())


@case(
    "port-in-use-by-ranks",
    cause="port-in-use",
    rank=0,
    also_rank=LAUNCHER,
    restart="RESTART",
    also_restart=("STOP", "RESTART_ELSEWHERE"),
    proof="EADDRINUSE|[Aa]ddress already in use",
)
def rank_port(bench: Bench) -> None:
    """Rank 0 opens a metrics page on a port that is taken; the others lose it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        page = 'if RANK == 0: http.server.HTTPServer(("127.0.0.1", int(os.environ["METRICS_PORT"])), http.server.BaseHTTPRequestHandler)'
        bench.script(
            "caught",
            imports="import http.server",
            step=f"if iteration == 5:\n    {page}",
            caught="import traceback\ntraceback.print_exc()",
        )
        bench.write("train.log", torchrun(bench, "train.py", env={"METRICS_PORT": str(taken.getsockname()[1])}).read_bytes())

"""Servers that a job needs: tokens, downloads, storage, names. The servers are on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import free_port, local, torchrun, two_nodes, waited
from tests.doctor_corpus.truth import case

EVERYBODY = ("any", 0, 1, 2, 3)


@contextmanager
def server(status: int, body: str, kind: str = "application/json", **headers: str) -> Iterator[str]:
    """Its address; it answers every request alike."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_HEAD = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


@case(
    "token-expired-401",
    cause="token-expired",
    also=("download-failed",),
    rank="all",
    also_rank=EVERYBODY,
    restart="STOP",
    also_restart=("RESTART",),
    proof="401",
)
def expired(bench: Bench) -> None:
    """The data service refuses the job's token: 401 for every rank, in two attempts."""
    (bench.work / "token").write_text("eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
    fetch = """
    request = urllib.request.Request(os.environ["DATA_URL"] + f"/shards/{self.rank}", headers={"Authorization": "Bearer " + open("token").read()})
    self.shard = urllib.request.urlopen(request, timeout=10).read()
    """
    bench.script("ranked", imports="import urllib.request", setup=fetch)
    with server(
        401,
        '{"error": "invalid_token", "error_description": "The access token expired"}',
        WWW_Authenticate='Bearer error="invalid_token", error_description="The access token expired"',
    ) as url:
        folder = local(
            bench, "torchrun", "train.py", env={"DATA_URL": url}, options=("--max-restarts", "1", "--backoff-s", "0")
        )
        waited(bench, folder)
    bench.keep_run(folder)


S3 = """
s3 = boto3.client("s3", endpoint_url=os.environ["S3"], region_name="us-west-2", aws_access_key_id="ASIAEXAMPLE", aws_secret_access_key="x", aws_session_token="y")
"""


@case("s3-expired-token-rank-0", cause="token-expired", rank=0, restart="STOP", also_restart=("RESTART",), proof="ExpiredToken")
def s3_expired(bench: Bench) -> None:
    """Rank 0's credentials for S3 expire before the upload at step 10; the others wait for it."""
    error = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><RequestId>J4Q</RequestId></Error>'
    put = 'if step == 10 and rank == 0:\n    s3.put_object(Bucket="ckpt", Key=f"run7/step-{step}.pt", Body=b"0" * 64)'
    bench.script("plain", imports="import boto3", setup=S3, after=put)
    with server(400, error, "application/xml") as url:
        bench.write("train.log", torchrun(bench, "train.py", env={"S3": url}).read_bytes())


@case("download-503-rank-0", cause="download-failed", also=("storage-unreachable",), rank=0, restart="RESTART", proof="503")
def unavailable(bench: Bench) -> None:
    """Rank 0 downloads the tokenizer for all: 503 after its retries; the others time out in the barrier or lose it."""
    fetch = """
    if RANK == 0:
        for attempt in range(3):
            answer = requests.get(os.environ["HUB"] + "/tokenizer.json", timeout=10)
            print(f"download of tokenizer.json, attempt {attempt + 1}: {answer.status_code} {answer.reason}", flush=True)
        answer.raise_for_status()
    dist.barrier()
    """
    bench.script("caught", imports="import requests", setup=fetch)
    with server(503, "upstream connect error") as url:
        bench.write("out.log", torchrun(bench, "train.py", env={"HUB": url}).read_bytes())


@case(
    "model-gated-401",
    cause="download-failed",
    also=("token-expired",),
    rank="all",
    also_rank=EVERYBODY,
    restart="STOP",
    also_restart=("RESTART",),
    proof="401",
)
def gated(bench: Bench) -> None:
    """A gated model: the hub's client raises of its own, in every rank."""
    fetch = (
        'from huggingface_hub import hf_hub_download\nself.config = hf_hub_download("meta-llama/Llama-3.1-8B", "config.json")'
    )
    bench.script("ranked", "finetune.py", setup=fetch)
    headers = {
        "X_Error_Code": "GatedRepo",
        "X_Error_Message": "Access to model meta-llama/Llama-3.1-8B is restricted. You must have access to it and be authenticated to access it. Please log in.",
    }
    with server(401, "{}", **headers) as url:
        log = torchrun(bench, "finetune.py", procs=2, env={"HF_ENDPOINT": url, "HF_HOME": str(bench.work / "hf")})
    bench.write("finetune.log", log.read_bytes())


@case(
    "feature-store-refused",
    cause="connection-refused",
    rank="all",
    also_rank=EVERYBODY,
    restart="RESTART",
    also_restart=("STOP",),
    proof="ConnectionRefusedError",
)
def refused(bench: Bench) -> None:
    """Nothing listens where the job's feature store should be."""
    bench.script(
        "ranked",
        imports="import socket",
        setup='self.store = socket.create_connection(("127.0.0.1", int(os.environ["STORE_PORT"])), timeout=5)',
    )
    bench.write("train.log", torchrun(bench, "train.py", env={"STORE_PORT": str(free_port())}).read_bytes())


@case(
    "s3-endpoint-unreachable",
    cause="storage-unreachable",
    also=("connection-refused",),
    rank=1,
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE", "STOP"),
    proof="EndpointConnectionError",
)
def unreachable(bench: Bench) -> None:
    """Rank 1 alone reads a shard from S3 in the middle of training, and no endpoint answers."""
    read = 'if step == 15 and rank == 1: s3.get_object(Bucket="tokens", Key="shard-00017.bin")'
    config = S3.replace(
        "aws_session_token", 'config=boto3.session.Config(retries={"total_max_attempts": 1}), aws_session_token'
    )
    bench.script("plain", imports="import boto3\nimport boto3.session", setup=config, step=read)
    bench.write("train.log", torchrun(bench, "train.py", env={"S3": f"http://127.0.0.1:{free_port()}"}).read_bytes())


@case(
    "data-host-unknown",
    cause="name-resolution",
    also=("download-failed",),
    rank="all",
    also_rank=EVERYBODY,
    restart="RESTART",
    also_restart=("STOP",),
    proof="Name or service not known|Temporary failure in name resolution",
)
def unknown_host(bench: Bench) -> None:
    """The host of the data set cannot be resolved; two pods."""
    fetch = 'self.index = urllib.request.urlopen("http://tokens.research.svc.cluster.invalid/index.json", timeout=10).read()'
    bench.script("ranked", imports="import urllib.request", setup=fetch)
    bench.pods(two_nodes(bench, "train.py"))

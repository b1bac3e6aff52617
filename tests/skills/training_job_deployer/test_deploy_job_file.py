"""What a job file may say, and how a wrong one is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from deployer_calls import DEPLOY, Project, deploy

GOOD = "name: toy\nrun: torchrun train.py\nsource: src\n"

# (line added to GOOD, path of the finding, what it tells)
SECRET_NAMES = [
    "NPM_TOKEN",
    "VAULT_TOKEN",
    "DB_PASSWD",
    "SSH_PRIVATE_KEY",
    "APIKEY",
    "PGPASSWORD",
    "WANDB_KEY",
    "NPM_AUTH",
    "COOKIE",
]
KEYS = [
    ("procs_per_nod: 2", "$.procs_per_nod", "did you mean procs_per_node?"),
    ("rolling_steps: 5", "$.rolling_steps", "belongs under checkpoints:"),
    ("checkpoints: {rolling_step: 5}", "$.checkpoints.rolling_step", "did you mean rolling_steps?"),
    ("zzz: 1", "$.zzz", "known here: name, run"),
    ("nodes: two", "$.nodes", "expected int, got str"),
    ("nodes: 0", "$.nodes", "expected int >= 1, got 0"),
    ("nodes: 2", "$.nodes", "target local is one machine"),
    ("procs_per_node: 0", "$.procs_per_node", ">= 1"),
    ("procs_per_node: many", "$.procs_per_node", "auto"),
    ("target: moon", "$.target", "eks, hyperpod, local"),
    ("monitor: 3", "$.monitor", "expected a mapping, got int"),
    ("monitor: {max_restarts: -1}", "$.monitor.max_restarts", ">= 0"),
    ("monitor: {stop_grace_s: 0}", "$.monitor.stop_grace_s", ">= 1"),
    ("monitor: {hang: ignore}", "$.monitor.hang", "report, restart"),
    ("monitor: {hang_after_s: soon}", "$.monitor.hang_after_s", "auto"),
    ("monitor: {pattern: '('}", "$.monitor.pattern", "is not a regular expression"),
    ("monitor: {pattern: 'step (?P<step>.)'}", "$.monitor.pattern", "names no loss"),
    ("monitor: {hang_after_s: 0}", "$.monitor.hang_after_s", ">= 1"),
    ("target: eks", "$.image", "is missing"),
    ("image: {uri: a, build: auto}", "$.image", "either uri or build"),
    ("cluster: {tolerations: [{key: 3}]}", "$.cluster.tolerations[0].key", "got int"),
    ("env: {SEED: 1}", "$.env.SEED", "quote it"),
    ("env: {FLAG: yes}", "$.env.FLAG", "quote it"),
    (f"env: {{A: {'x' * 150_000}}}", "$.env", "more than 100000 characters"),
    ('python: "a\\0b"', "$.python", "NUL"),
    ("env: {RANK: '1'}", "$.env.RANK", "set by the engine"),
    ("env: {PET_NNODES: '1'}", "$.env.PET_NNODES", "set by the engine"),
    ("env: {HF_TOKEN: abc}", "$.env.HF_TOKEN", "looks like a secret"),
    *((f"env: {{{name}: SEKRET}}", f"$.env.{name}", "looks like a secret") for name in SECRET_NAMES),
    ("env: {NOTE: hf_abcdefghijklmnop}", "$.env.NOTE", "looks like a secret"),
    ("env: {DATABASE_URL: 'postgres://u:pw@host/db'}", "$.env.DATABASE_URL", "looks like a secret"),
    ("cluster: {context: hf_abcdefghijklmnop}", "$.cluster.context", "holds an access token"),
    ("env: {'A B': x}", "$.env.A B", "not a valid name of a variable"),
    ("secrets: {HF_TOKEN: the-token-itself}", "$.secrets.HF_TOKEN", "secret/key"),
    ("budget: {}", "$.budget", "needs max_hours or max_usd"),
]
EKS = "name: toy\nrun: torchrun train.py\nsource: src\ntarget: eks\nimage: {uri: repo/image:1}\n"
# the same, added to EKS
CLUSTER_KEYS = [
    ("nodes: 2", "$.checkpoints.storage", "a volume that all of them see"),
    ("checkpoints: {storage: {claim: Shared}}", "$.checkpoints.storage.claim", "is not a valid name"),
    ("checkpoints: {storage: {claim: shared, size: 5Gi}}", "$.checkpoints.storage.claim", "leave class and size out"),
    ("checkpoints: {storage: {class: a/b}}", "$.checkpoints.storage.class", "is not a valid name"),
    ("checkpoints: {storage: {size: much}}", "$.checkpoints.storage.size", "not a quantity"),
    ("checkpoints: {storage: {size: 100m}}", "$.checkpoints.storage.size", "fractions of a byte"),
    ("resources: {cpu: 4Gi}", "$.resources.cpu", "more than any machine has"),
    ("resources: {memory: '64'}", "$.resources.memory", "64 bytes; did you mean 64Gi?"),
    ("resources: {cpu: many}", "$.resources.cpu", "neither auto nor a quantity"),
    ("engine: hyperpodjob", "$.engine", "target hyperpod only"),
    ("engine: slurm", "$.engine", "hyperpodjob, pytorchjob"),
    ("hyperpod: {spares: 1}", "$.hyperpod", "is for engine hyperpodjob alone"),
    ("cluster: {namespace: a.b}", "$.cluster.namespace", "not a valid name of a namespace"),
]
RIGHT_CLUSTER_KEYS = [
    "nodes: 2\ncheckpoints: {storage: {claim: shared}}",
    "nodes: 2\ncheckpoints: {storage: {class: fsx, size: 1.2Ti}}",
    "resources: {cpu: 500m, memory: 1.5Gi, shm: auto}",
    "resources: {cpu: '0.5', memory: 123k, shm: 1181116006400m}",
    "resources: {cpu: 1e-1, memory: 1e9}",
    "engine: raycluster",
]
HYPERPOD = "name: toy\nrun: torchrun train.py\nsource: src\ntarget: hyperpod\nengine: hyperpodjob\n"
SIZES = "minReplicas: 1, maxReplicas: 8"
# the same, added to HYPERPOD
HYPERPOD_KEYS = [
    ("image: {uri: pytorch/pytorch:2.15.0-cuda13}", "$.image.uri", "torch >= 2.4, < 2.12"),
    ("image: {uri: 1.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.12.1-gpu}", "$.image.uri", "has torch 2.12"),
    ("image: {uri: pytorch/pytorch:2.3.1}", "$.image.uri", "has torch 2.3"),
    ("image: {uri: a/b:1}\nhyperpod: {elastic: {}}", "$.hyperpod.elastic", "elasticPolicy"),
    (
        "image: {uri: a/b:1}\nhyperpod: {runPolicy: {jobMaxRetryCount: 3}}",
        "$.hyperpod.runPolicy.jobMaxRetryCount",
        "unknown key",
    ),
    ("image: {uri: a/b:1}\nhyperpod: {spares: 1}", "$.hyperpod.spares", "needs cluster.queue"),
    (f"image: {{uri: a/b:1}}\nhyperpod: {{elasticPolicy: {{{SIZES}}}}}", "$.hyperpod.elasticPolicy", "needs one of"),
]
RIGHT_HYPERPOD_KEYS = [
    "image: {uri: pytorch/pytorch:2.11.0-cuda13}",
    "image: {uri: team/pytorch-2.15:1}",
    f"image: {{uri: a/b:1}}\nhyperpod: {{elasticPolicy: {{{SIZES}, replicaDiscreteValues: [1, 8]}}}}",
]
# (the run line, what the finding tells)
RUN_LINES = [
    ("python train.py " + "9" * 200_000, "more than 100000"),
    ("torchrun --nnodes 2 train.py", "--nnodes is set by the engine"),
    ("torchrun --nproc_per_node=2 train.py", "--nproc_per_node is set by the engine"),
    ("torchrun --rdzv-backend c10d train.py", "set by the engine"),
    ("torchrun --steps 5 train.py", "--steps is not an option of torchrun"),
    ("torchrun", "names no script"),
    ("python -m trainyard.launch --standalone train.py", "set by the engine"),
    ("python -m torch.distributed.run --nproc-per-node 2 train.py", "--nproc-per-node is set by the engine"),
    ("python3 -u -m torch.distributed.launch --master_port=1 train.py", "--master_port is set by the engine"),
    ("/opt/conda/bin/torchrun --max-restarts 3 train.py", "--max-restarts is set by the engine"),
    ("accelerate launch --num_processes 2 train.py", "--num_processes is set by the engine"),
    ("python -m accelerate.commands.launch --multi_gpu train.py", "--multi_gpu is set by the engine"),
    ("deepspeed --num_gpus=8 train.py", "--num_gpus is set by the engine"),
    ("deepspeed --autotuning run train.py", "tuning jobs"),
    ("python train.py --data $HOME/data", "$HOME is not expanded"),
    ('python train.py --name "run of ${USER}"', "${USER} is not expanded"),
    ("python train.py --data ~/data", "~ is not expanded"),
    ("python train.py --tag `date`", "`date` is not expanded"),
    ("python train.py --tag $(git rev-parse HEAD)", "$(git rev-parse HEAD) is not expanded"),
    ("cd src", "'cd' is a word of the shell"),
    ("source env.sh", "'source' is a word of the shell"),
    ("export SEED=1", "'export' is a word of the shell"),
    ("cd src && torchrun train.py", "the job starts in `source:`"),
    ("SEED=1 torchrun train.py", "belongs under `env:`"),
    ("torchrun 'train.py", "cannot be split"),
    ("", "is empty"),
]
GOOD_START = b"z0: &z0 {k: 1}\n"
# what is no YAML mapping: the bytes, what is told
NO_MAPPING = [
    (b"", "is empty"),
    (b"- name: toy\n", "expected a mapping"),
    (b"just words", "expected a mapping"),
    (b"name: toy\nname: tom\n", "line 2, column 1: the key 'name' stands twice"),
    (b"env:\n\tA: b\n", "line 2, column 1: a tab"),
    (b"name: [", "line 1"),
    (b"name: !!python/object/apply:os.system [id]\n", "tag"),
    (b"? [a]\n: b\n", "unhashable"),
    (b"name: 2020-99-99\n", "month"),
    (b"\xff\xfe", "not UTF-8"),
    (b"name: \x01", "not YAML"),
    (b"{" * 1200, "not a job file"),
    (b"#" * 1_100_000, "longer than"),
    (
        GOOD_START + b"".join(b"z%d: &z%d {<<: [%s]}\n" % (i, i, b",".join([b"*z%d" % (i - 1)] * 9)) for i in range(1, 10)),
        "line 5",
    ),
    (GOOD_START + b"".join(b"z%d: &z%d [%s]\n" % (i, i, b",".join([b"*z%d" % (i - 1)] * 9)) for i in range(1, 10)), "line 5"),
    (b"name: &a [*a]", "stands inside of &a"),
    (b"name: " + b"[" * 100_000, "nested deeper"),
    (b"".join(b" " * i + b"a:\n" for i in range(100)), "nested deeper"),
    (b"name: 1" + b":1" * 100_000, "a number of 200001 characters"),
    (b"".join(b"k%d: v\n" % i for i in range(30_000)), "more than 20000 values"),
]
NAMES = ["Toy", "1toy", "toy-", "toy_1", "x" * 41, "../toy", "toy@1", ""]
SOURCES = {"x" * 400: "no folder", "~no-such-user/x": "no folder", "a\0b": "NUL"}
RIGHT_RUN_LINES = [
    "torchrun --tee 3 -r3 --role=x train.py --nnodes 2",
    "torchrun -m pkg.train",
    "torchrun \\\n train.py",
    "python -u -m torch.distributed.run --tee=3 train.py --nnodes 2",
    "accelerate launch --mixed_precision bf16 --config_file a.yaml train.py --num_processes 2",
    "deepspeed --no_local_rank train.py --deepspeed ds.json",
    "bash -c 'cd src && python train.py --data $HOME/data'",
    'bash -c "python train.py --data $HOME/data"',
    "python train.py --out '${now}' \\$HOME --ends-in $ --about a~b 1~2",
]
# run lines of a launcher for one machine
ON_A_CLUSTER = ["accelerate launch train.py", "python -m accelerate.commands.launch train.py", "deepspeed train.py"]

PLAIN_VARIABLES = "env: {TOKENIZERS_PARALLELISM: 'false', MAX_TOKENS: '4096', TOKEN_COUNT: '5', HF_HOME: /data/hf, AUTHOR: me, NCCL_DEBUG: INFO, WANDB_PROJECT: p, KEYBOARD: us, MONKEY_PATCH: '1', SSL_CERT_FILE: /etc/ca.pem}"


def merged(value: str) -> str:
    """Ten levels, each nine times the one before."""
    return "\n".join(
        ["z0: &z0 {k: 1}", *(f"z{n}: &z{n}\n  {value.format(','.join([f'*z{n - 1}'] * 9))}" for n in range(1, 10))]
    )


BOMBS = {
    "F08_job_merge_bomb.yaml": "name: a\nrun: python t.py\n" + merged("<<: [{}]"),
    "aliases": "name: a\nrun: python t.py\n" + merged("[{}]"),
    "lists": "name: a\nrun: " + "[" * 50_000,
    "half a character": 'name: a\nrun: python t.py\nsource: "\\ud800"',
    "F12_job_long_run.yaml": "name: a\nsource: " + "9" * 700 + "\nrun: dorchrun train.py\nbudget: " + "9" * 5000,
}

READER = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import trainyard_shell
from job_file import reading as job_file
answers = {}
for text in json.load(sys.stdin):
    path = pathlib.Path(sys.argv[2])
    path.write_bytes(text.encode("latin-1"))
    try:
        job_file.read(path)
        answers[text] = {}
    except trainyard_shell.SkillError as error:
        answers[text] = {check.id: check.summary for check in error.checks} or {error.code: str(error)}
json.dump(answers, sys.stdout)
"""


def with_run(line: str) -> str:
    return json.dumps({"name": "toy", "source": "src", "run": line})


def with_source(source: str) -> str:
    return json.dumps({"name": "toy", "source": source, "run": "torchrun train.py"})


def with_name(name: str) -> str:
    return json.dumps({"name": name, "source": "src", "run": "torchrun train.py"})


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Job file -> path -> what is wrong; all of them read in one fresh process."""
    folder = tmp_path_factory.mktemp("job-files")
    (folder / "src").mkdir()
    texts = [GOOD, GOOD + PLAIN_VARIABLES, *(GOOD + line for line, _, _ in KEYS), *(with_run(line) for line, _ in RUN_LINES)]
    texts += [with_run(line) for line in RIGHT_RUN_LINES] + [with_name(name) for name in NAMES]
    texts += [EKS + line for line in (*(line for line, _, _ in CLUSTER_KEYS), *RIGHT_CLUSTER_KEYS)]
    texts += [HYPERPOD + line for line in (*(line for line, _, _ in HYPERPOD_KEYS), *RIGHT_HYPERPOD_KEYS)]
    texts += [with_source(source) for source in SOURCES]
    texts += [EKS.replace("torchrun train.py", line) for line in ON_A_CLUSTER]
    texts += [text.decode("latin-1") for text, _ in NO_MAPPING]
    done = subprocess.run(
        [sys.executable, "-c", READER, str(DEPLOY.parent), str(folder / "job.yaml")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, dict[str, str]] = json.loads(done.stdout)
    return answers


def test_a_good_file_has_no_finding(findings: dict[str, dict[str, str]]) -> None:
    assert findings[GOOD] == {}


@pytest.mark.parametrize(("line", "path", "told"), KEYS)
def test_each_wrong_key_is_told_with_its_path(findings: dict[str, dict[str, str]], line: str, path: str, told: str) -> None:
    found = findings[GOOD + line]
    assert list(found) == [path]
    assert told in found[path]


@pytest.mark.parametrize(("line", "path", "told"), CLUSTER_KEYS)
def test_what_a_cluster_asks_of_a_job_file_is_told(
    findings: dict[str, dict[str, str]], line: str, path: str, told: str
) -> None:
    found = findings[EKS + line]
    assert list(found) == [path]
    assert told in found[path]


@pytest.mark.parametrize("line", RIGHT_CLUSTER_KEYS)
def test_a_right_file_for_a_cluster_has_no_finding(findings: dict[str, dict[str, str]], line: str) -> None:
    assert findings[EKS + line] == {}


@pytest.mark.parametrize(("line", "path", "told"), HYPERPOD_KEYS)
def test_what_hyperpods_operator_and_launcher_would_not_do_is_told(
    findings: dict[str, dict[str, str]], line: str, path: str, told: str
) -> None:
    found = findings[HYPERPOD + line]
    assert list(found) == [path] and told in found[path], found


@pytest.mark.parametrize("line", RIGHT_HYPERPOD_KEYS)
def test_a_right_file_for_hyperpods_operator_has_no_finding(findings: dict[str, dict[str, str]], line: str) -> None:
    assert findings[HYPERPOD + line] == {}


@pytest.mark.parametrize(("line", "told"), RUN_LINES)
def test_a_run_line_that_cannot_be_used_says_why(findings: dict[str, dict[str, str]], line: str, told: str) -> None:
    assert told in findings[with_run(line)]["$.run"]


@pytest.mark.parametrize("line", RIGHT_RUN_LINES)
def test_options_of_the_launcher_and_of_the_script_are_told_apart(findings: dict[str, dict[str, str]], line: str) -> None:
    assert findings[with_run(line)] == {}


@pytest.mark.parametrize("line", ON_A_CLUSTER)
def test_a_launcher_of_one_machine_is_refused_on_a_cluster_with_what_to_write(
    findings: dict[str, dict[str, str]], line: str
) -> None:
    found = findings[EKS.replace("torchrun train.py", line)]
    assert list(found) == ["$.run"] and "write torchrun in its place" in found["$.run"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_dns_label_is_refused(findings: dict[str, dict[str, str]], name: str) -> None:
    assert list(findings[with_name(name)]) == ["$.name"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_no_disk_can_have_is_no_folder(findings: dict[str, dict[str, str]], source: str) -> None:
    assert SOURCES[source] in findings[with_source(source)]["$.source"]


def test_several_processes_need_a_launcher(project: Project) -> None:
    project.write_job("python train.py", procs_per_node=2)
    answer = deploy("plan", project.job)
    assert answer.exit_code == 2
    assert "more than one process needs torchrun" in answer.check("$.run")["summary"]
    project.write_job("accelerate config", procs_per_node=2)
    assert "needs torchrun or `accelerate launch`" in deploy("plan", project.job).check("$.run")["summary"]
    project.write_job("python train.py", procs_per_node=1)
    assert deploy("plan", project.job).data["processes"] == "1"


def test_all_findings_of_one_reading_come_together(project: Project) -> None:
    project.job.write_text("name: Toy\nrun: a && b\nnodes: x\nsource: src\nzzz: 1\n")
    answer = deploy("run", project.job)
    assert (answer.exit_code, answer.error["code"]) == (2, "usage")
    assert {check["id"] for check in answer.document["checks"]} == {"$.name", "$.run", "$.nodes", "$.zzz"}


@pytest.mark.parametrize(("text", "told"), NO_MAPPING)
def test_what_is_no_yaml_mapping_is_told_with_its_place(findings: dict[str, dict[str, str]], text: bytes, told: str) -> None:
    assert told in findings[text.decode("latin-1")]["usage"]


def test_a_file_that_cannot_be_read_makes_nothing(project: Project) -> None:
    project.job.write_bytes(b"\xff\xfe")
    answer = deploy("run", project.job)
    assert (answer.exit_code, answer.error["code"]) == (2, "usage")
    assert not (project.folder / ".trainyard").exists()


def test_a_job_file_that_is_a_pipe_or_has_no_end_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with (tmp_path / "long.yaml").open("wb") as file:
        file.truncate(1 << 30)
    for path, told in ((tmp_path / "pipe.yaml", "a pipe"), (tmp_path / "long.yaml", "longer than"), ("/dev/zero", "a device")):
        answer = deploy("plan", path)
        assert (answer.exit_code, told in answer.error["message"]) == (2, True), answer


def test_a_secret_in_a_job_file_is_refused_and_stands_nowhere(project: Project) -> None:
    variables = {"NPM_TOKEN": "SEKRET", "APIKEY": "SEKRET", "NOTE": "ghp_SEKRET12345678901234"}
    run = "env HF_TOKEN=SEKRET python train.py --api-key SEKRET --db postgres://me:SEKRET@host/db"
    project.write_job(run, env=variables, engine="--token SEKRET")
    for words in (["plan", project.job], ["run", project.job, "--dry-run"], ["run", project.job]):
        answer = deploy(*words)
        assert (answer.exit_code, answer.error["code"]) == (2, "usage")
        told = {check["id"] for check in answer.document["checks"]}
        assert {"$.run", "$.env.NPM_TOKEN", "$.env.APIKEY", "$.env.NOTE"} <= told
        assert "SEKRET" not in json.dumps(answer.document) + answer.stderr
    assert not (project.folder / ".trainyard").exists() and project.starts() == []


def test_what_only_sounds_like_a_secret_is_a_variable(findings: dict[str, dict[str, str]]) -> None:
    assert findings[GOOD + PLAIN_VARIABLES] == {}


@pytest.mark.parametrize("name", BOMBS)
def test_a_job_file_that_would_explode_is_refused_within_a_second(tmp_path: Path, name: str) -> None:
    (tmp_path / "job.yaml").write_text(BOMBS[name])
    began = time.monotonic()
    answer = deploy("plan", tmp_path / "job.yaml")
    assert (answer.exit_code, answer.error["code"]) == (2, "usage")
    assert time.monotonic() - began < 5, "a second, on a machine that has nothing else to do"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert deploy("plan", tmp_path / "none.yaml").exit_code == 3
    folder = deploy("plan", tmp_path)
    assert (folder.exit_code, "is a folder" in folder.error["message"]) == (2, True)


def test_the_schema_names_every_key_with_its_meaning() -> None:
    schema = deploy("schema").data
    job = schema["$defs"]["Job"]
    assert job["additionalProperties"] is False
    assert job["required"] == ["name", "run"]
    told: dict[str, Any] = job["properties"]
    assert {"name", "target", "source", "run", "python", "nodes", "procs_per_node", "image", "engine", "cluster", "resources",
            "network", "checkpoints", "env", "secrets", "monitor", "notify", "hyperpod", "budget"} == set(told)  # fmt: skip
    assert told["run"]["description"]


def test_for_people_the_schema_is_a_list_of_keys() -> None:
    """Each key with its type, default and meaning, those of sections by their whole names."""
    command = [sys.executable, str(DEPLOY), "schema", "--format", "table"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    job = deploy("schema").data["$defs"]["Job"]["properties"]
    keys = re.findall(r"^  ([A-Za-z0-9_.]+)  ", text, re.MULTILINE)
    assert {key.partition(".")[0] for key in keys} == set(job) and len(keys) == len(set(keys))
    assert {"checkpoints.rolling_steps", "cluster.security.run_as_user", "monitor.stop_grace_s"} <= set(keys)
    assert text.count("meaning: ") == len(keys) and "  name  string  required" in text


def test_the_schema_can_be_written_for_an_editor(tmp_path: Path) -> None:
    answer = deploy("schema", "--output", tmp_path / "job.schema.json")
    assert answer.document["changed"] == [str(tmp_path / "job.schema.json")]
    assert json.loads((tmp_path / "job.schema.json").read_text()) == deploy("schema").data


def test_a_schema_that_a_full_disk_does_not_take_is_not_called_a_matter_of_permission() -> None:
    answer = deploy("schema", "--output", "/dev/full")
    assert (answer.exit_code, answer.error["code"]) == (8, "unreachable")
    assert answer.error["message"] == "/dev/full cannot be written: No space left on device"

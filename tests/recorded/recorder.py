"""What job files, engines and help texts gave when they were recorded, so that a change of the inside shows what it changes outside.

`expected/` holds one JSON file for each recorded thing; paths, sizes of disks and whatever one machine or cluster alone has are named
in them. test_recorded.py compares. `python -m tests.recorded local` and `python -m tests.recorded cluster` (a test cluster, some
minutes) write them anew: what differs from then on stands in differences.md with its reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
JOB_FILES, EXPECTED = HERE / "job_files", HERE / "expected"
ENGINES = ("pytorchjob", "trainjob", "hyperpodjob", "rayjob", "raycluster")
MANAGERS = ("pytorchjob-manager/src/manage_pytorchjob.py", "ray-manager/src/manage_ray.py")
LISTEN = HERE / "listen.py"
DEADLINE_S = 180
TRAINER = "import trainyard\n"
Recorded = dict[str, Any]


def names(*kinds: str) -> list[str]:
    """The job files of these kinds (local, cluster, wrong), without their ending."""
    return sorted(path.stem for path in JOB_FILES.glob("*.yaml") if path.stem.partition("-")[0] in kinds)


@dataclass
class Project:
    """A folder with a program, a job file and the skills beside each other; the managers of jobs are listened to."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    """Text that this machine or cluster alone has -> the name that stands for it."""

    def __post_init__(self) -> None:
        (self.folder / "train.py").write_text(TRAINER)
        skills = self.folder / "skills"
        deployer = "training-job-deployer"
        shutil.copytree(ROOT / "skills" / deployer, skills / deployer, ignore=shutil.ignore_patterns("__pycache__"))
        for skill in sorted(path.parent.name for path in (ROOT / "skills").glob("*/SKILL.md")):
            if skill != deployer and not any(manager.startswith(f"{skill}/") for manager in MANAGERS):
                (skills / skill).symlink_to(ROOT / "skills" / skill)
        for manager in MANAGERS:
            (skills / manager).parent.mkdir(parents=True)
            shutil.copy(LISTEN, skills / manager)

    def call(self, verb: str, *words: str) -> Recorded:
        """Exit code and document of deploy.py."""
        program = self.folder / "skills" / "training-job-deployer" / "src" / "deploy.py"
        return self.run(program, verb, "job.yaml", *words)

    def run(self, program: Path, *words: str) -> Recorded:
        kept = ("PATH", "HOME", "LANG", "TRAINYARD_TEST_SESSION")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {
            "RECORDED_SKILLS": str(ROOT / "skills"),
            "KUBECONFIG": "/nonexistent",
            "HF_TOKEN": "hush",
            **self.environment,
        }
        done = subprocess.run(
            [sys.executable, str(program), *words],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = done.stdout.splitlines()
        return {"exit": done.returncode, "document": self.named(document)}

    def manifests(self) -> list[Any]:
        """What the managers were asked to make since the last call, as they made it without making it."""
        heard = self.folder / "heard.jsonl"
        lines = [json.loads(line) for line in heard.read_text().splitlines()] if heard.exists() else []
        heard.unlink(missing_ok=True)
        return [self.named(line["data"]["manifest"]) for line in lines if "manifest" in (line.get("data") or {})]

    def named(self, value: Any) -> Any:
        """`value` with names in the place of what another machine has otherwise."""
        if isinstance(value, dict):
            return {key: "CLUSTER" if key == "cluster_id" else self.named(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.named(each) for each in value]
        return self._named_text(value) if isinstance(value, str) else value

    def _named_text(self, text: str) -> str:
        cores = len(os.sched_getaffinity(0))
        replaced = {**self.replaced, str(self.folder): "PLACE", str(ROOT): "REPOSITORY", sys.executable: "PYTHON"}
        for old, new in sorted(replaced.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(old, new)
        text = re.sub(r"[0-9.]+ GiB free", "N GiB free", text)
        return re.sub(rf"\bon {cores} cores", "on N cores", text)


def plan_of(project: Project, name: str) -> Recorded:
    """The plan and the dry run of a job file, or the errors that it gets."""
    shutil.copy(JOB_FILES / f"{name}.yaml", project.folder / "job.yaml")
    recorded = {"plan": project.call("plan"), "dry run": project.call("run", "--dry-run")}
    project.manifests()
    return recorded


def manifests_of(project: Project, name: str, engine: str) -> Recorded:
    """What an engine makes of a job file, and how the plan ended."""
    target = "hyperpod" if engine == "hyperpodjob" else "eks"
    text = (JOB_FILES / f"{name}.yaml").read_text().replace("target: eks", f"target: {target}\nengine: {engine}")
    (project.folder / "job.yaml").write_text(text)
    project.manifests()
    plan = project.call("plan")
    failed = [check for check in plan["document"]["checks"] if check["status"] == "fail"]
    return {"exit": plan["exit"], "failed": failed, "manifests": project.manifests()}


def help_of(project: Project, program: Path) -> Recorded:
    """`--help` of a program and of each of its verbs; [] where the verbs are not asked for."""
    project.environment["COLUMNS"] = "100"
    first = project.run(program, "--help")
    lines = first["document"]
    start = lines.index("Commands:") + 1 if "Commands:" in lines else len(lines)
    verbs = [match[1] for line in lines[start:] if (match := re.match(r"  ([a-z][a-z-]*)(  |$)", line))]
    return {"": first, **{verb: project.run(program, verb, "--help") for verb in verbs}}


def programs() -> dict[str, Path]:
    """skill/file -> every program that a skill has."""
    found = sorted(path for path in (ROOT / "skills").glob("*/src/*.py") if not path.name.startswith("trainyard_"))
    return {f"{path.parts[-3]}/{path.stem}": path for path in found if "@shell.program(" in path.read_text()}


def expected(kind: str, name: str) -> Any:
    return json.loads((EXPECTED / kind / f"{name.replace('/', '.')}.json").read_text())


def write(kind: str, name: str, recorded: Any) -> None:
    path = EXPECTED / kind / f"{name.replace('/', '.')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

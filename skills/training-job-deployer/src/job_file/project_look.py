"""What a project looks like to somebody who wants to train it: its scripts, how its own documents start them, what saves and resumes.

Files are read and never run. Everything found is a guess, and is said to be one.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from job_file import source_files
from trainyard_files import Unusable, open_regular

READ_BYTES = 1 << 20
MAX_SCRIPTS, MAX_DOCUMENTS = 400, 60
NAMES = re.compile(r"^(?:pre)?train|^fine_?tune|^main$|^run|^sft|^(?:dpo|grpo|ppo)|_train$|training$", re.IGNORECASE)
NOT_TRAINING = re.compile(
    r"^(?:test_|conftest|setup$|eval|infer|generate|sample|convert|prepare|preprocess|export|plot|serve|demo)", re.IGNORECASE
)
TRAINS = (
    rb"\.backward\(",
    rb"Trainer\(",
    rb"\.fit\(",
    rb"\boptimizer\.step\(",
    rb"\.train\(\)",
    rb"\baccelerator\.backward\(",
)
STARTED = re.compile(rb"""^if __name__ == ["']__main__["']""", re.MULTILINE)
DISTRIBUTED = re.compile(
    rb"init_process_group|DistributedDataParallel|fully_shard|FullyShardedDataParallel|LOCAL_RANK|WORLD_SIZE|init_device_mesh|init_distributed"
)
FRAMEWORKS = {
    "accelerate": re.compile(rb"^\s*(?:from|import) accelerate\b", re.MULTILINE),
    "deepspeed": re.compile(rb"^\s*(?:from|import) deepspeed\b", re.MULTILINE),
    "lightning": re.compile(rb"^\s*(?:from|import) (?:pytorch_)?lightning\b", re.MULTILINE),
    "transformers": re.compile(rb"\bTrainer\(|SFTTrainer\(|Seq2SeqTrainer\("),
}
SAVES = re.compile(rb"torch\.save\(|save_pretrained\(|save_checkpoint\(|save_state\(|dcp\.save|ModelCheckpoint\(|save_file\(")
RESUMES = re.compile(rb"resume|load_checkpoint\(|load_state\(|dcp\.load|ckpt_path=")
STEP_LINE = re.compile(rb"""(?:print|log\w*|info|tqdm\.write)\(.{0,200}\b(?:loss|step|iter)\b""", re.IGNORECASE)
COMMAND = re.compile(
    r"^\s*(?:\$ |%|!)?\s*((?:[A-Z_]+=\S+ )*(?:python3?|torchrun|accelerate launch|deepspeed|uv run \S+)\s.*\.py\b.*)$"
)
SHELL = re.compile(r"[$`|;&<>*?{}\[\]]|^\.\.\.$|^#")
DATA_OPTION = re.compile(rb"""["'](--(?:data|dataset|train)[-_]?\w*)["']""")


@dataclass
class Script:
    path: str
    """From the project's folder."""
    score: int
    text: bytes = field(repr=False)

    @property
    def is_distributed(self) -> bool:
        return DISTRIBUTED.search(self.text) is not None

    def has(self, pattern: re.Pattern[bytes]) -> bool:
        return pattern.search(self.text) is not None


@dataclass
class Project:
    folder: Path
    scripts: list[Script]
    """What trains, the most probable first."""
    commands: list[str]
    """Lines of documents and shell scripts that start one of them."""


def look(folder: Path) -> Project:
    scripts = []
    for path in _python_files(folder):
        text = _read(path)
        score = _score(path, folder, text)
        if score > 0:
            scripts.append(Script(path.relative_to(folder).as_posix(), score, text))
    scripts.sort(key=lambda each: (-each.score, each.path.count("/"), each.path))
    return Project(folder, scripts, _commands(folder, {each.path for each in scripts}))


def _python_files(folder: Path) -> list[Path]:
    found = [path for path in source_files.files(folder) if path.suffix == ".py"]
    found.sort(key=lambda path: len(path.relative_to(folder).parts))
    return found[:MAX_SCRIPTS]


def _score(path: Path, folder: Path, text: bytes) -> int:
    """0 or less: it trains nothing."""
    trains = sum(re.search(pattern, text) is not None for pattern in TRAINS)
    if not trains or NOT_TRAINING.search(path.stem):
        return 0
    depth = len(path.relative_to(folder).parts) - 1
    return (
        3 * bool(NAMES.search(path.stem))
        + 3 * bool(STARTED.search(text))
        + min(trains, 3)
        + bool(DISTRIBUTED.search(text))
        - depth
    )


def _commands(folder: Path, scripts: set[str]) -> list[str]:
    """As the project's own documents write them, without variables and prompts; each once."""
    places = [
        path
        for name in ("*.md", "*.sh", "scripts/*.sh", "docs/*.md", "examples/*.sh", "Makefile")
        for path in sorted(folder.glob(name))
    ]
    found: dict[str, None] = {}
    for path in places[:MAX_DOCUMENTS]:
        text = _read(path).decode("utf-8", "replace").replace("\\\n", " ")
        for line in text.splitlines():
            if match := COMMAND.match(line.strip().strip("`")):
                words = " ".join(match[1].split())
                script = script_in(words)
                if script is not None and script in scripts:
                    found.setdefault(words)
    return list(found)[:20]


def script_in(line: str) -> str | None:
    """The script that a command line starts; None where it cannot be told."""
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    return next((word.removeprefix("./") for word in words if word.endswith(".py")), None)


def options_of(line: str, script: str) -> list[str]:
    """The words after the script; none where a shell would replace some of them."""
    words = shlex.split(line)
    at = next((number for number, word in enumerate(words) if word.removeprefix("./") == script), len(words))
    rest = words[at + 1 :]
    return [] if any(SHELL.search(word) for word in rest) else rest


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(READ_BYTES)
    except (OSError, Unusable):
        return b""

"""The command `trainyard`: each word leads to the program that it names, from a checkout, from an assistant's folder, or not at all."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from install_place import ROOT, Place

COMMAND = ROOT / "install" / "trainyard"


def module() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("trainyard_command", str(COMMAND))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    made = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(made)
    finally:
        sys.dont_write_bytecode = before
    return made


OURS = module()


def trainyard(
    *words: str, program: Path = COMMAND, home: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")} if home else {}
    env = {**os.environ, **own, "TRAINYARD_PYTHON": sys.executable, **environment}
    return subprocess.run([sys.executable, str(program), *words], capture_output=True, text=True, timeout=60, env=env)


def verbs_of(program: str) -> set[str]:
    skill, name = program.split("/")
    path = ROOT / "skills" / skill / "src" / name
    told = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    return set(re.findall(r"^  ([a-z][a-z-]+)  ", told.partition("Commands:")[2], re.MULTILINE))


def test_its_words_are_the_programs_verbs() -> None:
    assert verbs_of("/".join(OURS.DEPLOY)) == set(OURS.DEPLOY_VERBS)
    for group, (skill, _, _) in OURS.GROUPS.items():
        for program, verbs in OURS.OTHERS.get(group, {}).items():
            there = verbs_of(program if "/" in program else f"{skill}/{program}")
            assert {OURS.RENAMED.get(verb, [verb])[0] for verb in verbs if OURS.RENAMED.get(verb) != []} <= there, program
    assert not set(OURS.GROUPS) & set(OURS.DEPLOY_VERBS)


def test_its_version_is_the_packages() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and trainyard("--version").stdout == f"trainyard {version[1]}\n"


@pytest.mark.parametrize(
    "words,said",
    [
        (("plan", "--help"), "trainyard plan"),
        (("checkpoints", "rollback", "--help"), "trainyard checkpoints rollback"),
        (("monitor", "doctor", "--help"), "trainyard monitor doctor"),
        (("monitor", "health", "--help"), "trainyard monitor health"),
        (("images", "test", "--help"), "test_image.py run"),
        (("images", "codebuild", "status", "--help"), "trainyard images codebuild status"),
        (("help", "ray"), "trainyard ray"),
        (("volumes",), "trainyard volumes"),
    ],
)
def test_a_word_leads_to_its_program(words: tuple[str, ...], said: str) -> None:
    done = trainyard(*words)
    assert done.returncode == 0 and f"Usage: {said}" in done.stdout, done.stderr


def test_wrong_words_and_absent_skills_say_what_to_do(tmp_path: Path) -> None:
    wrong = trainyard("trian")
    assert wrong.returncode == 2 and "next: trainyard --help" in wrong.stderr
    alone = tmp_path / "bin" / "trainyard"
    alone.parent.mkdir()
    shutil.copy(COMMAND, alone)
    absent = trainyard("plan", program=alone, home=tmp_path / "home")
    assert absent.returncode == 8 and "./install.sh" in absent.stderr
    place = tmp_path / "home" / ".agents" / "skills"
    place.mkdir(parents=True)
    (place / "checkpoint-manager").symlink_to(ROOT / "skills" / "checkpoint-manager")
    assert trainyard("checkpoints", "--help", program=alone, home=tmp_path / "home").returncode == 0


def test_completion_knows_verbs_groups_options(tmp_path: Path) -> None:
    assert trainyard("--complete", "mon").stdout.split() == ["monitor"]
    assert set(trainyard("--complete", "").stdout.split()) >= {"run", "why", "hyperpod"}
    assert trainyard("--complete", "checkpoints", "ro").stdout.split() == ["rollback"]
    assert trainyard("--complete", "monitor", "do").stdout.split() == ["doctor"]
    assert trainyard("--complete", "resume", "--fr").stdout.split() == ["--from-step"]
    assert trainyard("--complete", "no-such-verb", "x").stdout == ""
    for shell in ("bash", "zsh", "fish"):
        assert "trainyard --complete" in trainyard("completion", shell).stdout


def test_bash_completes_with_it(tmp_path: Path) -> None:
    (tmp_path / "trainyard").symlink_to(COMMAND)
    words = 'eval "$(trainyard completion bash)"; COMP_WORDS=(trainyard checkpoints pru) COMP_CWORD=2; _trainyard; echo "${COMPREPLY[@]}"'
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TRAINYARD_PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout == "prune\n", done.stderr


def test_install_links_it_once_and_takes_it_back(place: Place) -> None:
    link = place.home / ".local" / "bin" / "trainyard"
    done = place.install("--no-venv")
    assert link.resolve() == place.checkout / "install" / "trainyard"
    assert f"{link} init" in done.stderr and "is not on PATH" in done.stderr
    found = place.install("--no-venv", PATH=f"{link.parent}:{os.environ['PATH']}")
    assert "project: trainyard init" in found.stderr and "PATH" not in found.stderr
    assert f"ok        {link}" in place.install("--check", "--no-venv").stdout
    link.unlink()
    link.symlink_to("/of/another/checkout/install/trainyard")
    assert f"stale     {link}" in place.install("--check", "--no-venv").stdout
    place.install("--no-venv")
    assert link.resolve() == place.checkout / "install" / "trainyard"
    assert place.install("--uninstall", "--no-venv").returncode == 0 and not os.path.lexists(link)


def test_opencode_gets_the_assistants_commands_and_loses_them_again(place: Place) -> None:
    folder = place.home / ".config" / "opencode" / "command"
    names = {path.name for path in (ROOT / "commands").iterdir()}
    place.install("--no-venv", "--assistant", "claude")
    assert not folder.exists(), "Claude Code has them from the plugin"
    folder.mkdir(parents=True)
    (folder / "train.md").write_text("mine\n")
    done = place.install("--no-venv")
    assert done.returncode == 5 and {path.name for path in folder.iterdir()} == names
    assert sum(path.is_symlink() for path in folder.iterdir()) == len(names) - 1
    assert (folder / "train.md").read_text() == "mine\n"
    assert place.install("--uninstall", "--no-venv").returncode == 5
    assert [path.name for path in folder.iterdir()] == ["train.md"]
    (folder / "train.md").unlink()
    assert place.install("--no-venv", "--copy").returncode == 0
    assert all(not path.is_symlink() and "copied by install.sh" in path.read_text() for path in folder.iterdir())
    assert place.install("--uninstall", "--no-venv").returncode == 0 and not list(folder.iterdir())


COMMANDS = sorted((ROOT / "commands").glob("*.md"))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_names_a_skill_its_arguments_and_verbs_that_exist(path: Path) -> None:
    _, head, body = path.read_text().split("---\n", 2)
    keys = dict(line.split(": ", 1) for line in head.splitlines())
    assert set(keys) == {"description", "argument-hint"} and len(keys["description"]) < 100
    assert "$ARGUMENTS" in body and len(body) < 1200
    skill = re.search(r"Use the skill ([a-z-]+) for", body)
    assert skill and (ROOT / "skills" / skill[1] / "SKILL.md").is_file()
    calls = re.findall(r"`(\w+\.py) ([a-z-]+)", body)
    assert calls
    for program, verb in calls:
        (there,) = ROOT.glob(f"skills/*/src/{program}")
        assert verb in verbs_of(f"{there.parts[-3]}/{program}"), (program, verb)


def test_the_plugin_has_all_commands() -> None:
    (plugin,) = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text())["plugins"]
    assert plugin["commands"] == [f"./commands/{path.name}" for path in COMMANDS]


def test_with_copy_it_is_a_file_that_follows_what_nobody_changed(place: Place) -> None:
    """As the skills: it works without the checkout, a newer one replaces it, and a changed one is left."""
    copied, ours = place.home / ".local" / "bin" / "trainyard", place.checkout / "install" / "trainyard"
    options = ("--copy", "--no-venv", "--assistant", "claude")
    assert place.install(*options).returncode == 0
    assert not copied.is_symlink() and os.access(copied, os.X_OK)
    assert trainyard("--version", program=copied).returncode == 0
    assert f"unchanged {copied}" in place.install(*options).stdout
    ours.write_text(ours.read_text() + "# newer\n")
    assert f"stale     {copied}" in place.install("--check", "--no-venv").stdout
    assert f"update    {copied}" in place.install(*options).stdout and "# newer" in copied.read_text()
    copied.write_text("# mine\n" + copied.read_text())
    done = place.install(*options)
    assert done.returncode == 5 and copied.read_text().startswith("# mine")


def test_a_command_of_somebody_else_is_left(place: Place) -> None:
    link = place.home / ".local" / "bin" / "trainyard"
    link.parent.mkdir(parents=True)
    link.write_text("not yours\n")
    for options in ((), ("--uninstall",)):
        done = place.install(*options, "--no-venv")
        assert done.returncode == 5 and f"left      {link}: " in done.stderr
    assert f"foreign   {link}" in place.install("--check", "--no-venv").stdout
    assert link.read_text() == "not yours\n"

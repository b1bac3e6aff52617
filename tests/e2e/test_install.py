"""install.sh, run as a user would, from a copy of the checkout in a path with spaces and with a home folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from install_place import ASSISTANTS, DEADLINE_S, ROOT, Place


def test_it_links_every_skill_and_nothing_else_into_each_assistants_folder(place: Place) -> None:
    done = place.install("--no-venv")
    assert done.returncode == 0, done.stderr
    skills = place.checkout / "skills"
    assert place.links() == {
        f"{assistant}/{skill}": skills / skill
        for assistant in ("opencode", ".claude", ".agents")
        for skill in ("local-runner", "monitor")
    }
    assert all((folder / "monitor" / "SKILL.md").is_file() for folder in place.folders())


def test_a_second_run_changes_nothing_and_says_so(place: Place) -> None:
    place.install("--no-venv")
    before = place.everything()
    done = place.install("--no-venv", cwd=str(place.checkout / "skills"))
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"unchanged"}
    assert place.everything() == before


def test_a_dry_run_names_what_a_run_does_and_does_nothing(place: Place) -> None:
    announced = place.install("--dry-run", "--no-venv").stdout
    assert place.everything() == set()
    done = place.install("--no-venv").stdout
    assert [line.split(maxsplit=2)[2] for line in announced.splitlines()] == [
        line.split(maxsplit=1)[1] for line in done.splitlines()
    ]
    assert "would unlink" in place.install("--uninstall", "--dry-run", "--no-venv").stdout
    assert len(place.links()) == 6


def test_uninstall_takes_the_links_back_and_leaves_other_skills(place: Place) -> None:
    other = place.home / ".claude" / "skills" / "someone-elses"
    other.mkdir(parents=True)
    place.install("--no-venv")
    done = place.install("--uninstall")
    assert done.returncode == 0, done.stderr
    assert place.links() == {".claude/someone-elses": other}
    assert place.install("--uninstall").returncode == 0


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_what_it_did_not_make_is_named_and_left(place: Place, tmp_path: Path, kind: str) -> None:
    foreign = place.home / ".claude" / "skills" / "monitor"
    foreign.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    if kind == "folder":
        foreign.mkdir()
        (foreign / "SKILL.md").write_text("not yours\n")
    elif kind == "file":
        foreign.write_text("not yours\n")
    else:
        foreign.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "gone"))
    before = foreign.lstat()
    for options in (["--no-venv"], ["--uninstall", "--no-venv"]):
        done = place.install(*options)
        assert done.returncode == 5
        assert f"left      {foreign}: " in done.stderr
        assert (foreign.lstat().st_ino, foreign.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert place.links().keys() == {".claude/monitor"}  # the others came and went all the same


def test_a_link_to_another_checkout_is_not_ours(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "another checkout", place.home)
    shutil.copytree(place.checkout, other.checkout)
    assert other.install("--no-venv").returncode == 0
    assert place.install("--no-venv").returncode == 5
    assert place.install("--uninstall", "--no-venv").returncode == 5
    assert set(place.links().values()) == {other.checkout / "skills" / "monitor", other.checkout / "skills" / "local-runner"}


def test_a_skill_that_the_checkout_no_longer_has_loses_its_link(place: Place) -> None:
    place.install("--no-venv")
    shutil.rmtree(place.checkout / "skills" / "monitor")
    assert place.install("--no-venv").returncode == 0
    assert {name.split("/")[1] for name in place.links()} == {"local-runner"}


def test_an_assistants_folder_that_is_a_link_to_the_checkout_keeps_its_skills(place: Place) -> None:
    (place.home / ".claude").mkdir()
    (place.home / ".claude" / "skills").symlink_to(place.checkout / "skills")
    assert place.install("--no-venv").returncode == 0
    place.install("--uninstall", "--no-venv")
    assert (place.checkout / "skills" / "monitor" / "SKILL.md").is_file()


def test_it_works_through_a_link_and_honours_xdg_config_home(place: Place, tmp_path: Path) -> None:
    (tmp_path / "command").symlink_to(place.checkout / "install.sh")
    environment = {
        **os.environ,
        "HOME": str(place.home),
        "XDG_CONFIG_HOME": str(tmp_path / "my config"),
        "CDPATH": str(tmp_path),
    }
    subprocess.run(
        [str(tmp_path / "command"), "--no-venv"], env=environment, check=True, capture_output=True, timeout=DEADLINE_S
    )
    assert (tmp_path / "my config/opencode/skills/monitor").resolve() == place.checkout / "skills" / "monitor"
    assert not (place.home / ".config").exists()


@pytest.mark.when_changed("install.sh", "install/*", "tests/e2e/install_place.py")
def test_it_makes_the_skills_python_again_after_an_interrupted_install_and_removes_it(place: Place) -> None:
    venv = place.home / ".config" / "trainyard" / "venv"
    venv.mkdir(parents=True)
    (venv / "made-by-trainyard").write_text("unfinished\n")
    done = place.install()
    assert done.returncode == 0, done.stderr
    imports = [str(venv / "bin" / "python"), "-c", "import click, msgspec, rich, xxhash, yaml; print(msgspec.__version__)"]
    version = subprocess.run(imports, capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout.strip()
    assert f"msgspec=={version}\n" in (ROOT / "constraints.txt").read_text()
    assert f"unchanged {venv}\n" in place.install().stdout
    assert place.install("--uninstall").returncode == 0
    assert not venv.parent.exists()


def test_a_venv_that_it_did_not_make_stays(place: Place) -> None:
    mine = place.home / ".config" / "trainyard" / "venv" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    for options in ([], ["--uninstall"]):
        done = place.install(*options)
        assert done.returncode == 5 and "left " in done.stderr and "trainyard/venv" in done.stderr
    assert mine.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("options", "environment", "code", "words"),
    [
        (["--everything"], {}, 2, "unknown option --everything"),
        (["--assistant"], {}, 2, "--assistant needs a name: opencode claude"),
        (["--assistant", "emacs"], {}, 2, "no assistant emacs; there are opencode claude"),
        (["--assistant="], {}, 2, "no assistant ; there are opencode claude"),
        (["--check", "--uninstall"], {}, 2, "exclude each other"),
        (["--check", "--copy"], {}, 2, "leave --copy out"),
        ([], {"HOME": ""}, 2, "HOME is not set"),
        ([], {"PYTHON": "/bin/false"}, 8, "/bin/false is not there or older than 3.11"),
    ],
)
def test_a_mistake_is_one_line(place: Place, options: list[str], environment: dict[str, str], code: int, words: str) -> None:
    done = place.install(*options, **environment)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert words in done.stderr


# --- --assistant -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("assistant", ASSISTANTS)
def test_an_assistant_gets_the_skills_into_its_own_folder_and_no_other_does(place: Place, assistant: str) -> None:
    done = place.install("--no-venv", "--assistant", assistant)
    assert done.returncode == 0, done.stderr
    folder = place.home / ASSISTANTS[assistant]
    assert {link.name: link.resolve() for link in folder.iterdir()} == {
        skill: place.checkout / "skills" / skill for skill in ("local-runner", "monitor")
    }
    assert list(place.home.rglob("monitor")) == [folder / "monitor"]


def test_several_assistants_are_served_once_each(place: Place) -> None:
    done = place.install("--no-venv", "--assistant", "kiro", "--assistant=cursor", "--assistant", "kiro")
    assert len(done.stdout.splitlines()) == 5, "two skills each, and the command"
    assert {path.parts[-3] for path in place.home.rglob("monitor")} == {".kiro", ".cursor"}


def test_uninstall_without_a_name_finds_what_was_installed_for_any_assistant(place: Place) -> None:
    place.install("--no-venv", "--assistant", "kiro", "--assistant", "claude")
    place.install("--no-venv", "--assistant", "cursor", "--copy")
    mine = place.home / ".gemini" / "skills" / "monitor"
    mine.mkdir(parents=True)  # an assistant that was never asked for: its skill of that name is nobody's business
    done = place.install("--uninstall", "--no-venv")
    assert done.returncode == 0, done.stderr
    assert list(place.home.rglob("monitor")) == [mine]


def test_uninstall_of_one_assistant_leaves_the_others(place: Place) -> None:
    place.install("--no-venv")
    assert place.install("--no-venv", "--uninstall", "--assistant", "codex").returncode == 0
    assert {name.split("/")[0] for name in place.links()} == {"opencode", ".claude"}


# --- the script itself -------------------------------------------------------------------------------------------


def test_shellcheck_finds_nothing_in_all_its_parts() -> None:
    parts = ["install.sh", *(f"install/{path.name}" for path in sorted((ROOT / "install").glob("*.sh")))]
    command = [str(Path(sys.executable).with_name("shellcheck")), "--check-sourced", "--external-sources", *parts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout


def test_a_checkout_without_skills_says_so(place: Place) -> None:
    shutil.rmtree(place.checkout / "skills")
    done = place.install()
    assert done.returncode == 3 and "no skills in" in done.stderr


def test_help_names_every_option_and_changes_nothing(place: Place) -> None:
    done = place.install("--help")
    assert done.returncode == 0
    options = ("--assistant", "--copy", "--check", "--dry-run", "--uninstall", "--no-venv")
    assert all(option in done.stdout for option in options)
    assert all(name in done.stdout for name in ASSISTANTS)
    assert place.everything() == set()


def test_the_marketplace_lists_the_skills_that_there_are() -> None:
    plugin = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text())["plugins"][0]
    found = {f"./skills/{manifest.parent.name}" for manifest in (ROOT / "skills").glob("*/SKILL.md")}
    assert set(plugin["skills"]) == found

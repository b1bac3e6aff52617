"""install.sh --copy and --check, run as a user would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from install_place import Place

# --- --copy ------------------------------------------------------------------------------------------------------

COPY = ("--no-venv", "--assistant", "claude", "--copy")


def copied(place: Place, name: str = "monitor/src/the program.py") -> Path:
    return place.home / ".claude" / "skills" / name


def test_copies_are_real_files_that_work_without_the_checkout(place: Place) -> None:
    (place.checkout / "skills" / "monitor" / "src" / "__pycache__").mkdir()
    (place.checkout / "skills" / "monitor" / "src" / "__pycache__" / "old.pyc").write_text("not for others\n")
    done = place.install(*COPY)
    assert done.returncode == 0, done.stderr
    assert not any(path.is_symlink() for path in place.home.rglob("*"))
    assert not copied(place, "monitor/src/__pycache__").exists()
    place.checkout.rename(place.checkout.with_name("moved away"))
    assert subprocess.run([sys.executable, str(copied(place))], capture_output=True, text=True, timeout=60).stdout == "hello\n"


def test_a_second_run_updates_the_copies_that_are_behind_and_only_those(place: Place) -> None:
    place.install(*COPY)
    assert {line.split()[0] for line in place.install(*COPY).stdout.splitlines()} == {"unchanged"}
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(copied(place).parent)], check=True, timeout=60)
    (place.checkout / "skills" / "monitor" / "src" / "the program.py").write_text("print('newer')\n")
    another = Path("monitor", "src", "folder", "another.py")
    (place.checkout / "skills" / another.parent).mkdir()
    (place.checkout / "skills" / another).write_text("")
    announced = place.install(*COPY, "--dry-run")
    assert "would update" in announced.stdout and copied(place).read_text() == "print('hello')\n"
    done = place.install(*COPY[:3])  # without --copy too: a copy stays a copy
    assert {line.split(maxsplit=1)[0] for line in done.stdout.splitlines()} == {"unchanged", "update"}
    assert copied(place).read_text() == "print('newer')\n" and copied(place, str(another)).is_file()
    assert not copied(place).is_symlink() and not (copied(place).parent / "__pycache__").exists()
    assert {path.name for path in copied(place, ".").iterdir()} == {"monitor", "local-runner"}


@pytest.mark.parametrize("change", ["edited", "added", "below", "removed", "linked"])
def test_a_copy_that_somebody_changed_is_named_and_left(place: Place, change: str) -> None:
    place.install(*COPY)
    file = copied(place)
    source = file.parent
    if change == "edited":
        file.write_text("print('my own')\n")
    elif change == "added":
        (file := file.with_name("my notes.txt")).write_text("mine\n")
    elif change == "below":
        (folder := file.parent / "folder").mkdir()
        (file := folder / "notes.py").write_text("mine\n")
    elif change == "removed":
        file.unlink()
    else:
        (file := file.with_name("to somewhere")).symlink_to("/nonexistent")
    (place.checkout / "skills" / "monitor" / "SKILL.md").write_text("newer\n")
    before = place.everything()
    for options in (COPY, ("--no-venv", "--assistant", "claude"), (*COPY[:3], "--uninstall")):
        done = place.install(*options)
        assert done.returncode == 5
        assert (
            f"left      {copied(place, 'monitor')}: a copy that was changed here (src/{file.relative_to(source)})"
            in done.stderr
        )
        assert copied(place, "monitor/SKILL.md").read_text() == "a skill\n"
    gone = {name for name in before if "local-runner" in name}  # the other one, which nobody changed
    assert gone and place.everything() == before - gone


def test_uninstall_removes_copies_that_nobody_changed(place: Place) -> None:
    place.install(*COPY)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(copied(place).parent)], check=True, timeout=60)
    done = place.install("--uninstall", "--no-venv")
    assert done.returncode == 0, done.stderr
    assert place.everything() == {".claude", ".claude/skills"}


def test_links_become_copies_when_asked_to(place: Place) -> None:
    place.install(*COPY[:3])
    assert copied(place, "monitor").is_symlink()
    assert place.install(*COPY).returncode == 0
    assert not copied(place, "monitor").is_symlink() and copied(place).is_file()
    assert (place.checkout / "skills" / "monitor" / "src" / "the program.py").is_file()


def test_a_copy_of_another_checkout_is_not_ours(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "another checkout", place.home)
    shutil.copytree(place.checkout, other.checkout)
    assert other.install(*COPY).returncode == 0
    for options in (COPY, (*COPY[:3], "--uninstall")):
        assert place.install(*options).returncode == 5
    assert f"from {other.checkout}" in place.install(*COPY).stderr
    assert copied(place).is_file()


def test_a_copy_that_was_interrupted_is_made_again(place: Place) -> None:
    place.install(*COPY)
    copied(place, "monitor").rename(copied(place, ".trainyard-old"))  # killed between the two renames
    shutil.copytree(copied(place, ".trainyard-old"), copied(place, ".trainyard-new"))
    assert place.install(*COPY).returncode == 0
    assert {path.name for path in copied(place, ".").iterdir()} == {"monitor", "local-runner"}


def test_what_a_killed_update_left_beside_the_new_copy_goes_at_the_next_run(place: Place) -> None:
    for last in (COPY, (*COPY[:3], "--uninstall")):
        place.install(*COPY)
        shutil.copytree(copied(place, "monitor"), copied(place, ".trainyard-old"))
        assert place.install(*last).returncode == 0
        assert not copied(place, ".trainyard-old").exists()


def test_a_copied_skill_that_the_checkout_no_longer_has_is_removed(place: Place) -> None:
    place.install(*COPY)
    shutil.rmtree(place.checkout / "skills" / "monitor")
    assert place.install(*COPY).returncode == 0
    assert {path.name for path in copied(place, ".").iterdir()} == {"local-runner"}


# --- --check -----------------------------------------------------------------------------------------------------


def found(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Folder/skill -> the word that --check says of it."""
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    places = [(word, Path(rest.split(":")[0].split(" -> ")[0].split(" (")[0])) for word, rest in lines]
    return {f"{path.parts[-3]}/{path.name}": word for word, path in places if not {".local", "command"} & {*path.parts}}


def test_check_says_that_all_is_fine_only_where_it_is(place: Place) -> None:
    nothing = place.install("--check", "--no-venv")
    assert nothing.returncode == 1 and set(found(nothing).values()) == {"missing"} and len(found(nothing)) == 6
    place.install("--no-venv")
    fine = place.install("--check", "--no-venv")
    assert fine.returncode == 0, fine.stdout
    assert set(found(fine).values()) == {"ok"} and len(found(fine)) == 6
    assert place.install("--check").returncode == 1  # no venv


def test_check_looks_where_something_was_installed(place: Place) -> None:
    place.install("--no-venv", "--assistant", "kiro", "--copy")
    fine = place.install("--check", "--no-venv")
    assert fine.returncode == 0 and found(fine) == {".kiro/monitor": "ok", ".kiro/local-runner": "ok"}
    assert place.install("--check", "--no-venv", "--assistant", "claude").returncode == 1


def test_check_names_what_is_stale_changed_missing_and_foreign_and_changes_nothing(place: Place) -> None:
    for name in ("newer", "mine", "gone", "theirs"):
        shutil.copytree(place.checkout / "skills" / "monitor", place.checkout / "skills" / name)
    place.install(*COPY)
    (place.checkout / "skills" / "newer" / "SKILL.md").write_text("newer\n")
    copied(place, "mine/src/the program.py").write_text("mine\n")
    shutil.rmtree(place.checkout / "skills" / "gone")
    shutil.rmtree(copied(place, "theirs"))
    copied(place, "theirs").mkdir()
    shutil.rmtree(copied(place, "local-runner"))
    before = {path: path.lstat().st_mtime_ns for path in place.home.rglob("*")}
    done = place.install("--check", "--no-venv")
    assert done.returncode == 1
    assert found(done) == {
        ".claude/monitor": "ok",
        ".claude/newer": "stale",
        ".claude/mine": "changed",
        ".claude/gone": "stale",
        ".claude/theirs": "foreign",
        ".claude/local-runner": "missing",
    }
    assert "5 of the places above" in done.stderr
    assert {path: path.lstat().st_mtime_ns for path in place.home.rglob("*")} == before


def test_check_knows_a_venv_that_is_not_finished_and_one_that_is_not_ours(place: Place) -> None:
    place.install("--no-venv")
    venv = place.home / ".config" / "trainyard" / "venv"
    venv.mkdir(parents=True)
    (venv / "made-by-trainyard").write_text("unfinished\n")
    unfinished = place.install("--check")
    assert unfinished.returncode == 1 and f"stale     {venv}: " in unfinished.stdout
    (venv / "made-by-trainyard").unlink()
    foreign = place.install("--check")
    assert foreign.returncode == 1 and f"foreign   {venv}: " in foreign.stdout

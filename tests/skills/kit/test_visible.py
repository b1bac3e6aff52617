"""Text from outside is shown as a reader takes it to be: nothing turns it around, hides in it, or moves a cursor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import trainyard_output
from trainyard_output import clean, shown, visible

ROOT = Path(__file__).resolve().parents[3]
KEPT = "Ünïcode, 中文, עברית, русский, emoji \U0001f600, tab\tand\nnewline"
SHOWN = {
    "nvidia\u202egpj.exe": "nvidiagpj.exe",
    "a\u2066b\u2069c\u200bd\u200fe\ufefff": "abcdef",
    "hidden\U000e0049\U000e0067\U000e006e words": "hidden words",
    "smuggled\U000e0101\U000e0102\ufe0f": "smuggled",
    "soft\xadhy\u034fphen\u115f\u3164": "softhyphen",
    "\x1b[31mred\x1b[0m \x1b[2K\x1b[1;1Hhome": "red home",
    "\x1b]0;title\x07\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1b]52;c;cm0gLXJmIC8=\x07copied": "copied",
    "\x9b31mC1\x9b0m \x9d0;title\x9cend\x85": "C1 end",
    "\x1bPq#0\x1b\\sixel \x1b_apc\x1b\\ \x1bc": "sixel  ",
    "bell\x07 back\x08 nul\x00 esc\x1b": "bell back nul esc",
}
PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import trainyard_shell as shell
HOSTILE = sys.argv.pop(1)
@shell.program("test")
def cli() -> None: ...
@cli.command(epilog=shell.examples("a", "b"))
def answer() -> shell.Result:
    shell.emit("log", line=HOSTILE)
    shell.progress(HOSTILE)
    check = shell.Check(HOSTILE, "fail", HOSTILE, HOSTILE, HOSTILE)
    return shell.Result(data={"text": HOSTILE, HOSTILE: [{"row": HOSTILE}], "list": [HOSTILE]}, checks=[check], changed=[HOSTILE], next=[HOSTILE])
@cli.command(epilog=shell.examples("a", "b"))
def refuse() -> shell.Result:
    raise shell.SkillError("usage", HOSTILE + " --api-key SEKRET", hint=HOSTILE)
cli()
"""


def test_what_is_invisible_goes_and_every_script_stays() -> None:
    assert {text: visible(text) for text in SHOWN} == SHOWN
    assert visible(KEPT) == KEPT


def test_nothing_hostile_comes_out_of_any_door_of_a_program() -> None:
    hostile = "".join(SHOWN).replace("\x00", "")
    for verb in ("answer", "refuse"):
        for form in ("json", "table"):
            words = [sys.executable, "-c", PROGRAM, str(ROOT / "skills" / "kit"), hostile, verb, "--format", form]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            said = done.stdout + done.stderr
            if form == "json":
                said += "".join(str(list(_texts(json.loads(line)))) for line in done.stdout.splitlines())
            assert "nvidiagpj.exe" in said, "the control: the text itself is shown"
            assert trainyard_output.INVISIBLE.search(said) is None and "SEKRET" not in said


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    return (
        [text for each in value for text in _texts(each)]
        if isinstance(value, list)
        else [value]
        if isinstance(value, str)
        else []
    )


def test_names_that_look_the_same_stay_two() -> None:
    assert shown({"a": 1, "a\u200b": 2}) == {"a": 1, "'a\\u200b'": 2}


def test_a_text_of_any_length_is_cleaned_in_time() -> None:
    began = time.process_time()
    for piece in ("\x1b]", "\x1b[", "\x1b[1", "\x9d", "\x1bP\x1b", "\u202e"):
        visible(piece * 100_000)
        assert len(clean(piece * 100_000 + "text" * 1000)) <= 2000
    assert time.process_time() - began < 5


def test_the_runtime_strips_the_same() -> None:
    """It cannot import the kit: its own table must be equal."""
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); import death_words; print(json.dumps(death_words.UNPRINTABLE.pattern))"
    words = [sys.executable, "-c", code, str(ROOT / "skills" / "local-runner" / "src")]
    assert (
        json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        == trainyard_output.INVISIBLE.pattern
    )

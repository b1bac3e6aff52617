"""Makes the cases that score the doctor, and scores it. README.md says how."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.truth import FOLDER, Case, all_cases


def digest() -> str:
    """Of everything that makes cases."""
    found = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.py")):
        if path.name != "scoring.py":
            found.update(path.read_bytes())
    return found.hexdigest()[:12]


def default_output() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "trainyard" / "doctor-corpus" / digest()


def make_one(case: Case, output: Path) -> str:
    """How it went, in words; a case that is not what it should be leaves no folder."""
    folder, began = output / case.name, time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="job-") as work:
        try:
            (folder / "evidence").mkdir(parents=True)
            case.make(Bench(Path(work), folder / "evidence"))
            case.written(folder)
        except Exception:
            failed = output / f".failed-{case.name}"
            shutil.rmtree(failed, ignore_errors=True)
            folder.rename(failed)
            return f"FAILED\n{traceback.format_exc()}"
    return f"made in {time.monotonic() - began:.1f} s"


def effort(case: Case) -> tuple[bool, bool]:
    """Those that start nothing come first, those with a supervisor last."""
    return case.truth.real, "local" in case.make.__code__.co_names


def make(words: argparse.Namespace) -> int:
    output = words.output or default_output()
    output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, case in sorted(all_cases().items(), key=lambda item: effort(item[1])):
        if words.only and not any(each in name for each in words.only):
            continue
        if not words.again and not words.only and (output / name / "truth.json").exists():
            continue
        said = make_one(case, output)
        failed += said.startswith("FAILED")
        print(f"{name}: {said}", flush=True)
    made = sum(1 for _ in output.glob("*/truth.json"))
    print(f"{made} of {len(all_cases())} cases in {output}")
    return 1 if failed else 0


def score(words: argparse.Namespace) -> int:
    from tests.doctor_corpus.scoring import report, scored

    if not (results := scored(words.folder, words.only)):
        print(f"no case in {words.folder}", file=sys.stderr)
        return 1
    text = report(results)
    print(text)
    if words.output:
        words.output.write_text(text)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.doctor_corpus", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    making = verbs.add_parser("make", help="make the cases that are not there yet (as root, about ten minutes)")
    making.add_argument("--output", type=Path, help="default: ~/.cache/trainyard/doctor-corpus/DIGEST")
    making.add_argument("--only", action="append", help="cases whose name contains this; made anew")
    making.add_argument("--again", action="store_true", help="make all anew")
    making.set_defaults(do=make)
    scoring = verbs.add_parser("score", help="run the doctor on every case")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("--only", action="append", help="cases whose name contains this")
    scoring.add_argument("--output", type=Path, help="the same as a markdown file")
    scoring.set_defaults(do=score)
    words = parser.parse_args()
    return int(words.do(words))


if __name__ == "__main__":
    sys.exit(main())

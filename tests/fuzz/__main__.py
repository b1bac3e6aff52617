"""Look for input that breaks a reader.

python -m tests.fuzz                            the targets
python -m tests.fuzz kubeconfig --seconds 85    search; exit 1 where something was found, which is kept and named
python -m tests.fuzz kubeconfig FILE...         these inputs once more, each in a process of its own
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz import searching, targets


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=targets.names())
    parser.add_argument("inputs", nargs="*", type=Path)
    parser.add_argument("--seconds", type=int, default=85)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    given = parser.parse_args()
    if given.name is None:
        print("\n".join(targets.names()))
        return 0
    if given.inputs:
        return max(_again(given.name, path) for path in given.inputs)
    ended = searching.search(targets.module_of(given.name), seconds=given.seconds, seed=given.seed, show=True)
    print(ended.told())
    return 0 if ended.is_clean else 1


def _again(name: str, path: Path) -> int:
    ended = searching.search(targets.module_of(name), inputs=[path])
    print(f"{path}: {ended.told()}")
    return 0 if ended.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())

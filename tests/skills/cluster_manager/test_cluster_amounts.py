"""Quantities and what a pod takes, as the scheduler counts them, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys

from cm_calls import PROGRAM


def evaluate(expression: str) -> object:
    """The value of an expression over the skill's modules."""
    code = "\n".join(
        [
            "import json, sys",
            f"sys.path.insert(0, {str(PROGRAM.parent)!r})",
            "sys.argv[0] = 'none'",
            "import msgspec, trainyard_shell",
            "from cluster_amounts import amount, pod_requests, written",
            "from cluster_read import PodSpec",
            "def pod(**spec): return pod_requests(msgspec.convert(spec, PodSpec))",
            "def refusal(r, text):",
            "    try: return amount(r, text)",
            "    except trainyard_shell.SkillError as error: return str(error)",
            "def c(cpu, **more): return {'resources': {'requests': {'cpu': cpu}}, **more}",
            f"print(json.dumps({expression}))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_quantities_are_read_as_kubernetes_writes_them() -> None:
    """The seeds read these as 0, or crashed."""
    asked = {"cpu": ["0.5", "100m", "2", "1e3", "0.0001"], "memory": ["1.5Gi", "123k", "64Gi", "128974848", "1E", "0.5"]}
    assert evaluate(f"{{key: [amount(key, text) for text in texts] for key, texts in {asked}.items()}}") == {
        "cpu": [500, 100, 2000, 1_000_000, 1],
        "memory": [3 << 29, 123_000, 64 << 30, 128974848, 10**18, 1],
    }


def test_what_is_written_is_read_back_the_same() -> None:
    counts = (
        "[(r, n) for r, n in [('cpu', 500), ('cpu', 96000), ('memory', 1 << 30), ('memory', 123000), ('nvidia.com/gpu', 8)]]"
    )
    assert evaluate(f"all(amount(r, written(r, n)) == n for r, n in {counts})") is True


def test_no_quantity_is_an_error_that_says_so() -> None:
    wrong = ["", "x", "1.5Xi", "NaN", "Infinity", "1_0i"]
    said = evaluate(f"[refusal('memory', text) for text in {wrong!r}]")
    assert said == [f"{text!r} is no quantity of memory" for text in wrong]


def test_init_containers_count_one_by_one_and_sidecars_beside_all() -> None:
    cases = [
        "pod(containers=[c('2'), c('500m')], initContainers=[c('4')])",
        "pod(containers=[c('2')], initContainers=[c('1', restartPolicy='Always'), c('3')])",
        "pod(containers=[c('2')], initContainers=[c('3'), c('1', restartPolicy='Always')])",
    ]
    assert evaluate(f"[{', '.join(cases)}]") == [{"cpu": 4000}, {"cpu": 4000}, {"cpu": 3000}]


def test_overhead_is_added_and_pod_level_requests_replace_the_sum() -> None:
    overhead = "pod(containers=[c('2')], overhead={'cpu': '250m'})"
    pod_level = "pod(containers=[c('2')], resources={'requests': {'cpu': '5'}})"
    assert evaluate(f"[{overhead}, {pod_level}]") == [{"cpu": 2250}, {"cpu": 5000}]

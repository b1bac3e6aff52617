"""`gpu`: what nvidia-smi and DCGM tell, and what they do not tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monitor_call import PROGRAM, call, check, statuses

from tests import calling

HEADER = (
    "index, uuid, name, utilization.gpu [%], memory.used [MiB], memory.total [MiB], temperature.gpu, power.draw [W], mig.mode.current, "
    "ecc.errors.uncorrected.volatile.total, remapped_rows.pending, remapped_rows.failure, clocks_event_reasons.active"
)
BUSY = "{index}, GPU-{index}, NVIDIA H100 80GB HBM3, 98 %, 61000 MiB, 81559 MiB, 61, 640.10 W, Disabled, 0, No, No, 0x0000000000000004"
NVIDIA_SMI = """#!/bin/sh
case "$1" in *,power.draw*) [ -e "$OLD" ] && { echo 'Field "power.draw" is not a valid field to query.'; exit 2; } ;; esac
cat "$TABLE"
"""


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def busy(count: int = 8, **others: str) -> list[str]:
    """Rows of a healthy node; `others`: `gpu3="..."`."""
    return [others.get(f"gpu{index}", BUSY.format(index=index)) for index in range(count)]


@pytest.fixture
def smi(tmp_path: Path) -> dict[str, str]:
    """An environment with a program called nvidia-smi that prints the file TABLE."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    (tmp_path / "table").write_text(table(*busy()))
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "TABLE": str(tmp_path / "table"), "OLD": str(tmp_path / "old")}


def looked(smi: dict[str, str], *words: str, watch_s: float = 0) -> calling.Answer:
    return calling.call(PROGRAM, "gpu", "here", "--watch-s", watch_s, "--interval", 1.1, *words, env=smi)


def test_busy_gpus_pass(smi: dict[str, str]) -> None:
    done = looked(smi, "--expect", "8")
    assert done.code == 0 and done.data["total"] == 8, done
    assert done.check("gpu.idle")["summary"] == "all 8 GPUs were in use"
    assert done.data["gpus"][0]["throttled"] == ["software power cap"] and done.check("gpu.throttling")["status"] == "pass"


def test_idle_gpus_are_named(smi: dict[str, str]) -> None:
    """In every look, not in one; `job holds 8` counts those that nobody sees too."""
    rows = busy(8, **{f"gpu{index}": BUSY.format(index=index).replace("98 %", "0 %") for index in (2, 5, 7)})
    Path(smi["TABLE"]).write_text(table(*rows))
    done = looked(smi, watch_s=1)
    told = done.check("gpu.idle")
    assert told["status"] == "warn" and "holds 8, 3 idle" in told["summary"] and "/5 (" in told["evidence"], told
    once = looked(smi)
    assert once.check("gpu.idle")["status"] == "unknown", "one moment cannot tell"
    few = looked(smi, "--expect", "16")
    assert few.check("gpu.data")["status"] == "unknown" and few.code == 1


def test_a_column_that_the_driver_lacks_is_left_out(smi: dict[str, str]) -> None:
    Path(smi["OLD"]).touch()
    Path(smi["TABLE"]).write_text(table("0, 97 %, 61", header="index, utilization.gpu [%], temperature.gpu"))
    done = looked(smi)
    assert done.code == 0 and done.data["total"] == 1 and done.data["gpus"][0]["memory_used_mib"] is None, done


@pytest.mark.parametrize(
    ("row", "id", "status"),
    [
        (BUSY.replace(", 61,", ", 83,"), "gpu.temperature", "warn"),
        (BUSY.replace(", 61,", ", 91,"), "gpu.temperature", "fail"),
        (BUSY.replace("Disabled, 0", "Disabled, 3"), "gpu.ecc", "fail"),
        (BUSY.replace("No, No", "No, Yes"), "gpu.ecc", "fail"),
        (BUSY.replace("No, No", "Yes, No"), "gpu.ecc", "warn"),
        (BUSY.replace("0x0000000000000004", "0x0000000000000048"), "gpu.throttling", "warn"),
        (BUSY.replace("98 %", "[Unknown Error]"), "gpu.lost", "fail"),
        (BUSY.replace("61000 MiB", "[GPU requires reset]"), "gpu.lost", "fail"),
        ("Unable to determine the device handle for GPU 0000:1B:00.0: Unknown Error", "gpu.lost", "fail"),
        (BUSY.replace("98 %", "[N/A]").replace("Disabled", "Enabled"), "gpu.idle", "unknown"),
    ],
)
def test_what_is_wrong_with_one_gpu(smi: dict[str, str], row: str, id: str, status: str) -> None:
    """Beside seven healthy ones, of which none of these is said."""
    Path(smi["TABLE"]).write_text(table(*busy(8, gpu3=row.format(index=3))))
    done = looked(smi)
    assert done.check(id)["status"] == status, done.document["checks"]
    others = {each["id"] for each in done.document["checks"] if each["status"] not in ("pass", "skipped")}
    assert others <= {id, "gpu.lost", "gpu.idle"}, others


@pytest.mark.parametrize(
    "text",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "Failed to initialize NVML: Driver/library version mismatch\n",
        "",
        "index; use\n0; 97\n",
        HEADER + "\n",
        "\x00\xff" * 3000,
    ],
)
def test_no_data_is_unknown(smi: dict[str, str], text: str) -> None:
    Path(smi["TABLE"]).write_text(text, encoding="latin-1")
    done = looked(smi)
    assert done.code == 1 and done.check("gpu.data")["status"] == "unknown", done
    assert done.check("gpu.idle")["status"] == "unknown"


def test_without_nvidia_smi_it_is_unknown(tmp_path: Path) -> None:
    done = calling.call(PROGRAM, "gpu", "here", env={"PATH": str(tmp_path)})
    assert done.code == 1 and "no nvidia-smi" in done.check("gpu.data")["evidence"]


def test_what_somebody_printed_can_be_read(tmp_path: Path) -> None:
    """A file of one moment: an idle GPU cannot be told from a waiting one, a hot one can."""
    file = tmp_path / "smi.csv"
    file.write_text(table(*busy(8, gpu3=BUSY.format(index=3).replace(", 61,", ", 91,"))))
    found = statuses(call("gpu", file, code=1))
    assert (found["gpu.idle"], found["gpu.temperature"]) == ("pass", "fail")


def test_a_cpu_run_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    start = {"time": 1.79e9, "type": "start", "source": "trainer", "world_size": 4, "backend": "gloo"}
    (tmp_path / "run" / "events.jsonl").write_text(json.dumps(start) + "\n")
    assert check(call("gpu", tmp_path / "run"), "gpu.data")["status"] == "skipped"

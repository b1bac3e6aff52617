"""Run the program's `fit` for many job files in one process: a line of JSON in, a line of JSON out.

python fit_each.py FOLDER_OF_THE_PROGRAM < calls > answers         # call: [job file, namespace, claim or null]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import trainyard_kube as kube
from job_fit.answer import fit
from job_fit.job import read_job

for line in sys.stdin:
    job_file, namespace, claim = json.loads(line)
    result = fit(kube.connect(kube.Where(namespace=namespace)), read_job(Path(job_file)), claim)
    print(json.dumps({"ok": result.is_ok(), "data": result.data, "checks": [vars(check) for check in result.checks]}))

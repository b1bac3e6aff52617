"""A real Kubernetes cluster on this machine, as processes in one network namespace: see README.md beside this file.

In a test: the fixtures `cluster` and `namespace` (fixtures.py). From a shell: `python -m tests.components.cluster up`.
"""

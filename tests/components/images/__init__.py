"""Real engines, registries, a base image and a small torch on this machine: see README.md beside this file.

In a test: the fixtures of fixtures.py. From a shell: `python -m tests.components.images build`.
"""

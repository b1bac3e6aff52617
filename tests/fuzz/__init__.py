"""Fuzzing: readers of what others wrote get damaged input until one of them breaks. `python -m tests.fuzz` says how."""

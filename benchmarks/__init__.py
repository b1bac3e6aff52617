"""Trainyard measured side by side with its peers: `python -m benchmarks`, or `make bench`. README.md says what is compared."""

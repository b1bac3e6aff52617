"""Fixtures of the end-to-end tests."""

from install_place import place

__all__ = ["place"]

"""Helpers of the build: run by the Makefile, tested by `tests/tools`, never shipped."""

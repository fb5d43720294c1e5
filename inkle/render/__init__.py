"""Targets: programs to source text."""

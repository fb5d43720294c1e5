"""Runtimes: memory, compilers and launches of each device, behind one small interface."""

"""The command line: `python -m inkle env`, `python -m inkle explain SCRIPT`."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from inkle import config
from inkle.engine import pipeline, profile
from inkle.errors import InkleError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="inkle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("env", help="print every setting, its value and what it does")
    commands.add_parser("machine", help="print what the compiler knows of this machine")
    explain = commands.add_parser("explain", help="run a script and print every kernel of it")
    explain.add_argument("script", help="Python file to run")
    explain.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the script")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except InkleError as error:
        print(f"inkle: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.command == "env":
        print(environment())
    elif options.command == "machine":
        print(machine())
    else:
        explain(options.script, options.arguments)
    return 0


def environment() -> str:
    """Return the table of settings as text."""
    width = max(map(len, config.SETTINGS))
    rows = []
    for name, row in config.SETTINGS.items():
        mark = "*" if name in os.environ else " "
        rows.append(f"{name:{width}} {mark} {config.get(name)!s:12} {row.text}")
    return "\n".join(rows)


def machine() -> str:
    """Return facts about the processor that kernels are compiled for."""
    target = pipeline.current_target()
    return "\n".join(
        [
            f"target     {target.name} ({target.cpu})",
            f"vectors    {target.vector_registers} of {target.vector_bytes} bytes",
            f"threads    {pipeline.current_threads()}",
            f"caches     {target.l1_bytes >> 10} KiB, {target.l2_bytes >> 10} KiB, "
            f"{target.l3_bytes >> 10} KiB",
        ]
    )


def explain(script: str, arguments: Sequence[str]) -> None:
    """Run `script`; print each kernel when it is made, and the profile of all at the end."""
    os.environ["INKLE_EXPLAIN"] = os.environ["INKLE_PROFILE"] = "1"
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    profile.clear()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())

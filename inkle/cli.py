"""The command line: `python -m inkle env`, `python -m inkle machine`, `... explain SCRIPT`."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from inkle import config
from inkle.engine import pipeline, profile, roofline
from inkle.errors import DataError, InkleError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="inkle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("env", help="print every setting, its value and what it does")
    facts = commands.add_parser("machine", help="print what the compiler knows of this machine")
    facts.add_argument("--measure", action="store_true", help="measure its rates again")
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
        print(machine(measure=options.measure))
    else:
        explain(options.script, options.arguments)
    return 0


def environment() -> str:
    """Return the table of settings as text."""
    width = max(map(len, config.SETTINGS))
    rows = []
    for name, row in config.SETTINGS.items():
        mark = "*" if name in os.environ else " "
        try:
            value = str(config.get(name))
        except InkleError:
            value = f"{os.environ[name]!r} is no value"
        rows.append(f"{name:{width}} {mark} {value:12} {row.text}")
    return "\n".join(rows)


def machine(*, measure: bool = False) -> str:
    """Return facts about the processor that kernels are compiled for, and its measured rates."""
    target = pipeline.current_target()
    rates = roofline.peaks(again=measure)
    copies = [f"{1e-9 * rate:.0f} GB/s up to {size >> 20} MiB" for size, rate in rates.bandwidths]
    return "\n".join(
        [
            f"target     {target.name} ({target.cpu})",
            f"vectors    {target.vector_registers} of {target.vector_bytes} bytes",
            f"threads    {pipeline.current_threads()}",
            f"caches     {target.l1_bytes >> 10} KiB, {target.l2_bytes >> 10} KiB, "
            f"{target.l3_bytes >> 10} KiB",
            f"arithmetic {1e-9 * rates.flops_per_second:.0f} GFLOP/s by float32 multiply-adds",
            f"copies     {', '.join(copies)}",
        ]
    )


def explain(script: str, arguments: Sequence[str]) -> None:
    """Run `script`; print each kernel when it is made, and the profile of all at the end.

    Raises:
        DataError: if there is no such file.
    """
    if not os.path.isfile(script):
        raise DataError(f"there is no file {script!r} to run")
    os.environ["INKLE_EXPLAIN"] = os.environ["INKLE_PROFILE"] = "1"
    config.read_again()
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    profile.clear()
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        profile.print_table()


if __name__ == "__main__":
    sys.exit(main())

"""Create the virtual environment and install inkle into it, with one of its extras.

    python3 tools/environment.py .venv test [arguments for pip ...]

Runs on the system's own Python, which may be managed by the system and may come without `ensurepip`
(Debian's does): the environment is made without pip, and a pip from elsewhere installs into it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

OLDEST_PYTHON = (3, 11)
OLDEST_PIP = (22, 3)  # the first with `pip --python`
ROOT = Path(__file__).resolve().parent.parent


def python_of(folder: Path) -> Path:
    """Return the interpreter of the virtual environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(python: Path) -> bool:
    """Say whether `python` runs and is new enough."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        return subprocess.run([python, "-c", code], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def make_environment(folder: Path) -> None:
    """Create the virtual environment in `folder`, unless a working one is there."""
    if works(python_of(folder)):
        return
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise SystemExit(f"{folder} exists and is no virtual environment: move it away")
    venv.create(folder, clear=True, symlinks=os.name != "nt", with_pip=False)


def pip_version(command: list[str]) -> tuple[int, ...]:
    """Return the version of the pip that `command` runs, or () if it does not run."""
    try:
        run = subprocess.run([*command, "--version"], capture_output=True, text=True)
    except OSError:
        return ()
    found = re.match(r"pip (\d+)\.(\d+)", run.stdout) if run.returncode == 0 else None
    return tuple(int(part) for part in found.groups()) if found else ()


def find_pip(python: Path) -> list[str]:
    """Return a command that runs pip for the environment of `python`."""
    if pip_version([str(python), "-m", "pip"]):
        return [str(python), "-m", "pip"]
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        if pip_version(command) >= OLDEST_PIP:
            return [*command, "--python", str(python)]
    raise SystemExit(
        "no pip found (22.3 or newer); install it, on Debian or Ubuntu: apt install python3-pip"
    )


def main(arguments: list[str]) -> int:
    """Install the extra `arguments[1]` ("runtime": none) into the environment `arguments[0]`."""
    folder, extra, *pip_arguments = arguments
    if sys.version_info < OLDEST_PYTHON:
        raise SystemExit(
            f"inkle needs Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer, and this is "
            f"{sys.version.split()[0]} ({sys.executable}); name another one: make PYTHON=python3.12"
        )
    make_environment(Path(folder))
    target = "." if extra == "runtime" else f".[{extra}]"
    print(f"installing {target.replace('.', 'inkle', 1)} into {folder} ...", flush=True)
    pip = find_pip(python_of(Path(folder).absolute()))
    quiet = ["-qq", "--disable-pip-version-check", "--no-input"]  # -qq: errors, no warnings
    install = [*pip, "install", *quiet, *pip_arguments, "--editable", target]
    return subprocess.run(install, cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

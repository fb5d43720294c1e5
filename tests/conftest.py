"""Settings, options and fixtures of all tests.

Settings are environment variables, set here before any is read: checks are always on,
and where pytest-xdist runs one process per core, each process uses one thread.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from types import ModuleType

import hypothesis
import pytest

from inkle import config

os.environ["INKLE_CHECK"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("INKLE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

NO_TORCH = "PyTorch is not installed (make test TORCH=1)"

# No deadlines: a busy machine is no bug. The quick profile repeats the same examples in every run;
# the thorough one, of `make test-all`, looks for new ones and prints how to reproduce a failure.
hypothesis.settings.register_profile("quick", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.register_profile(
    "thorough", deadline=None, max_examples=1000, print_blob=True, database=None
)
hypothesis.settings.load_profile("quick")


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("inkle")
    group.addoption("--require-torch", action="store_true", help="fail if PyTorch is missing")
    group.addoption(
        "--update-cases",
        action="store_true",
        help="write what the program prints now into golden files and docs; review the diff",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--require-torch") and not has_torch():
        raise pytest.UsageError(f"--require-torch: {NO_TORCH}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not has_torch():
        line = f"ATTENTION: {NO_TORCH}: nothing was compared with it"
        terminalreporter.write_line(line, red=True, bold=True)


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Set an environment variable that is a setting, for one test."""

    def change(name: str, text: str) -> None:
        monkeypatch.setenv(name, text)
        config.read_again()

    yield change
    monkeypatch.undo()
    config.read_again()


@pytest.fixture(autouse=True)
def no_schedules_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep schedules in memory: tests change what makes them, and nobody else must get such."""
    monkeypatch.setattr("inkle.engine.recipe_cache.entry_name", lambda *_: None)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, as an oracle; a test that asks for it is skipped where there is none."""
    return pytest.importorskip("torch", reason=NO_TORCH)


@pytest.fixture(scope="session")
def update_cases(request: pytest.FixtureRequest) -> bool:
    """Whether golden texts are to be rewritten instead of compared."""
    return request.config.getoption("--update-cases")

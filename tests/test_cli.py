"""The command line."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from inkle import cli, config
from inkle.engine.roofline import Peaks


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "inkle", *arguments], capture_output=True, text=True, timeout=60
    )


def test_env_lists_every_setting_with_value_and_meaning(capsys, setenv):
    setenv("INKLE_DATA", "/somewhere")

    assert cli.main(["env"]) == 0

    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == list(config.SETTINGS)
    row = next(row for row in rows if row.startswith("INKLE_DATA"))
    assert row.split()[1:3] == ["*", "/somewhere"]
    assert "folder that holds data sets" in row


def test_env_shows_settings_that_are_wrong(capsys, setenv):
    setenv("INKLE_THREADS", "many")

    assert cli.main(["env"]) == 0
    assert "'many' is no value" in capsys.readouterr().out


def test_machine_prints_facts_and_rates(capsys, monkeypatch):
    rates = Peaks(4e11, ((2 << 20, 2e11), (128 << 20, 1e10)))
    monkeypatch.setattr("inkle.engine.roofline.peaks", lambda *, again: rates)

    assert cli.main(["machine"]) == 0

    text = capsys.readouterr().out
    for label in ("target", "vectors", "threads", "caches"):
        assert f"\n{label}" in "\n" + text
    assert "arithmetic 400 GFLOP/s by float32 multiply-adds" in text
    assert "copies     200 GB/s up to 2 MiB, 10 GB/s up to 128 MiB" in text


def test_wrong_setting_is_one_line(capsys, setenv):
    setenv("INKLE_TARGET", "abacus")

    assert cli.main(["machine"]) == 1
    assert capsys.readouterr().err.startswith("inkle: no CPU target 'abacus'; there are host,")


def test_explain_of_a_missing_file_is_one_line(capsys):
    assert cli.main(["explain", "no/such.py"]) == 1
    assert capsys.readouterr().err == "inkle: there is no file 'no/such.py' to run\n"


def test_explain_runs_a_script_and_shows_its_kernels(script, capsys, monkeypatch, setenv):
    path = script("""
        import sys
        from inkle import Tensor
        x = Tensor([[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])  # nobody else's shape
        print((x @ x * 0.5 @ x)[:2, :2].tolist(), sys.argv[1:], __name__)
    """)
    setenv("INKLE_EXPLAIN", "0")
    setenv("INKLE_PROFILE", "0")
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("inkle.engine.profile.peaks", lambda: Peaks(1e11, ((1, 1e10),)))

    assert cli.main(["explain", path, "--flag", "value"]) == 0

    out, err = capsys.readouterr()
    assert out == "[[18.5, 27.0], [40.5, 59.0]] ['--flag', 'value'] __main__\n"
    kernel, table = err.split("       ms  share")
    assert kernel.startswith("kernel 0: script.py:5 (k")
    assert "for " in kernel
    assert (
        "\nstores mul (3, 3) of script.py:5: else the contraction that ends in it would be stored, "
        "which is no smaller; kernel 1 reads it\n"
    ) in kernel
    assert ": it is a result\n" in kernel
    assert table.count("script.py:5") == 2


@pytest.mark.slow
def test_explain_of_a_script_that_fails_shows_what_ran(script):
    path = script("""
        from inkle import Tensor
        print((Tensor([1.0]) + 1).tolist())
        raise RuntimeError("stop")
    """)

    done = run("explain", path)

    assert done.returncode == 1
    assert "roof" in done.stderr
    assert "RuntimeError: stop" in done.stderr


@pytest.mark.slow
def test_module_is_a_program():
    assert "INKLE_CHECK" in run("env").stdout
    assert run().returncode == 2

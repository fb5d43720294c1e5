"""The size tool counts what it says, on every Python alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.size import BUDGETS, Budget, Size, excesses, long_files, main, measure, sizes


@pytest.mark.parametrize(
    "source, lines, tokens",
    [
        ("", 0, 0),
        ("\n\n# comment\n", 0, 0),
        ("a = 1\n", 1, 3),
        ("a = 1  # comment\n", 1, 3),
        ("a = [\n    1,\n\n    2,\n]\n", 4, 8),
        ("if a:\n    b()\n", 2, 6),
        ('"""Module."""\n', 0, 0),
        ('def f():\n    """One\n\n    Two.\n    """\n', 1, 5),
        ('class A:\n    b: int\n    """What b is."""\n', 2, 6),
        ('a = """one\n\ntwo"""\n', 3, 3),
        ('f("""one\ntwo""")\n', 2, 4),
        ('a = f"{b} and {c:{d}}"\n', 1, 3),
        ('a = f"""{b}\n{f"{c}"}\n"""\n', 3, 3),
        ("a = (\n    b\n    + c\n)\n", 4, 7),
    ],
)
def test_counts_code_only(source: str, lines: int, tokens: int):
    assert measure(source) == Size(1, lines, tokens)


@pytest.fixture
def package(tmp_path: Path):
    for name, text in {
        "__init__.py": "from inkle.errors import E\n",
        "errors.py": "class E(Exception): ...\n",
        "ir/__init__.py": '"""Words."""\n',
        "ir/deep/er.py": "a = 1\nb = 2\n",
        "viz/page.py": "c = 3\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_files_belong_to_the_layer_of_their_folder_or_name(package: Path):
    assert sizes(package) == {
        "errors": Size(1, 1, 7),
        "ir": Size(2, 2, 6),
        "(top)": Size(1, 1, 6),
        "viz": Size(1, 1, 3),
    }


def test_budget_is_for_its_layers_together_and_may_be_reached():
    found = {"ir": Size(1, 6, 60), "rules": Size(1, 4, 40), "viz": Size(1, 900, 9000)}

    assert excesses(found, [Budget("core", ("ir", "rules", "kernel"), 10, 100)]) == []
    assert excesses(found, [Budget("core", ("ir", "rules"), 9, 97)]) == [
        "core: 10 lines, 1 over budget",
        "core: 100 tokens, 3 over budget",
    ]


def test_budget_without_tokens_limits_lines_only():
    assert excesses({"nn": Size(1, 1, 10**9)}, [Budget("nn", ("nn",), 1)]) == []


def test_file_of_500_lines_is_the_longest(package: Path):
    (package / "ir" / "edge.py").write_text("\n" * 500)
    (package / "ir" / "long.py").write_text("\n" * 501)

    (message,) = long_files(package)

    assert message == f"{package / 'ir' / 'long.py'}: 501 lines, more than 500: split it by meaning"


def test_command_prints_a_table_and_fails_when_something_is_too_large(package: Path, capsys):
    assert main([str(package)]) == 0
    printed = capsys.readouterr()
    assert "ir to kernel" in printed.out
    assert printed.err == ""

    n = BUDGETS[0].lines
    (package / "ir" / "large.py").write_text("a = 1\n" * n)

    assert main([str(package)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"ir to kernel: {n + 2:,} lines, 2 over budget",
        f"{package / 'ir' / 'large.py'}: {n} lines, more than 500: split it by meaning",
    ]

"""Golden pairs: what each rule does, as text. `pytest --update-cases` rewrites them.

add_zero             name of the rule, which must have been applied (or a title of your own)
  n + 0              Python over the names below; `… when …` simplifies under a gate
  -> n               what the simplifier makes of it
"""

import math
from pathlib import Path

import pytest

from inkle.ir import dtype as dtypes
from inkle.ir import forms, ops, tensor
from inkle.ir.dtype import bool_, float32, index, int32, uint8
from inkle.ir.loop import range_
from inkle.ir.node import Node, const, intern
from inkle.ir.pseudo import expression
from inkle.rewrite.engine import RuleSet, record
from inkle.rules import SIMPLIFY, simplify_under
from tests.rules.expressions import free

FOLDER = Path(__file__).parent / "cases"
FILES = sorted(FOLDER.glob("*.txt"))
RULES = {rule.name for rule in SIMPLIFY.rules}

NAMES = {
    **{name: free(name) for name in "xyzw"},
    **{name: free(name, int32) for name in "nm"},
    **{name: free(name, uint8) for name in "uv"},
    **{name: free(name, float32) for name in "fgh"},
    **{name: free(name, bool_) for name in "pqr"},
    **dict(zip("ijkl", (range_(n, size) for n, size in enumerate((6, 4, 12, 64))))),
    **{name: getattr(Node, name) for name in (
        "where", "maximum", "minimum", "truncdiv", "truncmod", "fma", "floor", "ceil", "trunc",
        "rint", "cast",
    )},
    **{dtype.name: dtype for dtype in dtypes.ALL},
    "t": intern(forms.VARIABLE, float32, (), ("t", -math.inf, math.inf), (2, 3)),
    "full": lambda value: tensor.full(value, float32, (2, 3)),
    "permute": tensor.permute,
    "reshape": tensor.reshape,
    "index": index,
    "const": const,
    "true": const(True, bool_),
    "false": const(False, bool_),
    "xor": lambda a, b: a.apply(ops.XOR, b),
}  # fmt: skip


def simplified(text: str) -> tuple[str, set[str]]:
    """Return the simplified expression and the names of the rules that were applied."""
    before, _, gate = text.partition(" when ")
    node = eval(before, NAMES)
    if gate:
        return expression(simplify_under(node, eval(gate, NAMES))), set()
    with record() as steps:
        after = RuleSet(SIMPLIFY.rules, SIMPLIFY.nest_of).simplify(node)
    return expression(after), {step.rule for step in steps}


def rewritten(text: str) -> str:
    """Return a case file with its results as they are now; checks that the named rules apply."""
    lines = []
    name = before = ""
    for line in text.splitlines():
        if line.startswith("  -> "):
            after, applied = simplified(before)
            assert name not in RULES or name in applied, f"{name} does not apply to {before}"
            line = f"  -> {after}"
        elif line.startswith("  "):
            before = line.strip()
        elif line and not line.startswith("#"):
            name = line
        lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_cases(path, update_cases):
    text = path.read_text()

    now = rewritten(text)

    if update_cases:
        path.write_text(now)
    assert update_cases or now == text


def test_every_rule_has_a_case():
    named = {
        line
        for path in FILES
        for line in path.read_text().splitlines()
        if line and line[0] not in " #"
    }

    assert RULES - named == set()

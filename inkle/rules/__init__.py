"""Facts: what may be replaced by what. One family per file.

SIMPLIFY.simplify(node)        every family: for graphs of tensor form and loop form
INDEX_RULES.simplify(node)     index arithmetic and conditions only
simplify_under(node, gate)     besides, what a gate says
simplify_gate(gate)            the gate itself
"""

from inkle.rules.gates import simplify_gate, simplify_under
from inkle.rules.simplify import INDEX_RULES, SIMPLIFY

__all__ = ["INDEX_RULES", "SIMPLIFY", "simplify_gate", "simplify_under"]

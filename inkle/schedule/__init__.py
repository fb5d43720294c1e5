"""From a tensor graph to kernels: what is computed where, in which loops, in which memory.

`schedule(outputs)` returns a `Plan`; `explain(outputs)` also says why each kernel exists. The passes,
one module each:

    split_reductions  long reductions to few elements go in two stages
    lower             indices, gates and placement (`place`, `cost`, `mutation`), from the outputs down
    siblings          kernels over the same loops and data become one
    arrange, build    loops are merged, split, ordered; kernels written out in canonical form
    memory            order of launches, reuse of temporaries
"""

from inkle.schedule.cost import Facts
from inkle.schedule.plan import Reason, explain, schedule

__all__ = ["Facts", "Reason", "explain", "schedule"]

"""From a tensor graph to kernels: what is computed where, in which loops, in which memory.

`schedule(outputs)` returns a `Plan`; `explain(outputs)` also says why each kernel exists. The
passes, one module each:

    pointwise                     loops over time with elementwise steps, made fit for one kernel
    closed_forms (loop_form)      reductions of masks and positions become indexing or arithmetic
    pieces                        functions of a CAT become a CAT of functions
    online                        reductions that need an earlier one read long rows once
    prepare, split_contractions   rewrites of the tensor graph: long reductions in two stages
    lower                         indices, gates, placement (`place`, `cost`, `mutation`, `layout`)
    siblings                      kernels over the same loops and data become one
    arrange, fold, build          loops merged, split, ordered; kernels in canonical form
    chains, blocks (rows)         kernels that pass large arrays on run by blocks of rows, with room
                                  for one; what comes back to such an array computes it again
    neighbours                    so do those that pass small ones on at once: one launch for all
    hidden                        columns that a mask hides from a block, which are not visited
    donate                        outputs that take the place of inputs, if the engine asks for it
    order                         launches that free memory run early
    recompute                     values dropped and computed again, to fit a limit
    memory (lives)                places of temporaries
    beside                        launches without a wait between them
"""

from inkle.schedule.beside import side_by_side
from inkle.schedule.built import Reason
from inkle.schedule.cost import Facts
from inkle.schedule.plan import explain, schedule

__all__ = ["Facts", "Reason", "explain", "schedule", "side_by_side"]

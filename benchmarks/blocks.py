"""Time attention, forward and with its gradients, beside PyTorch's own.

    python benchmarks/blocks.py [--threads N]

Milliseconds, best of several runs, the two by turns; and how many launches inkle needs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

SHAPES = ((12, 128, 64), (96, 128, 64), (12, 512, 64), (8, 2048, 64), (4, 4096, 64))
ROUNDS = 12


def best(*runs: Callable[[], Any]) -> list[float]:
    """Return the least milliseconds of each, run by turns."""
    found = [float("inf")] * len(runs)
    for _ in range(ROUNDS):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            found[i] = min(found[i], 1e3 * (time.perf_counter() - start))
    return found


def row(shape: tuple[int, int, int], *, causal: bool, back: bool) -> str:
    """Return the times for one shape as text."""
    import numpy as np
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    import inkle
    from inkle import Tensor

    arrays = [np.random.default_rng(i).normal(size=shape).astype(np.float32) for i in range(3)]
    mine = [Tensor(each).realize() for each in arrays]
    theirs = [torch.from_numpy(each)[None].requires_grad_(back) for each in arrays]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Any:
        return q.scaled_dot_product_attention(k, v, is_causal=causal)

    def loss(q: Tensor, k: Tensor, v: Tensor) -> Any:
        out = attend(q, k, v)
        return (out * out).sum()

    step = inkle.jit(inkle.grad(loss, argnums=(0, 1, 2)) if back else attend)

    def run_mine() -> None:
        found = step(*mine)
        for each in found if back else [found]:
            each.realize()

    def run_theirs() -> None:
        out = scaled_dot_product_attention(*theirs, is_causal=causal)
        if back:
            torch.autograd.grad((out * out).sum(), theirs)

    run_mine()
    run_theirs()
    a, b = best(run_mine, run_theirs)
    what = (
        f"{'x'.join(map(str, shape))}{' causal' if causal else ''}{' + gradients' if back else ''}"
    )
    return f"{what:32} inkle {a:8.2f}   PyTorch {b:8.2f}   ratio {b / a:5.2f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    import torch

    from inkle import Context

    torch.set_num_threads(threads)
    with Context(INKLE_THREADS=threads):
        for back in (False, True):
            for shape in SHAPES:
                for causal in (False, True):
                    print(row(shape, causal=causal, back=back), flush=True)


if __name__ == "__main__":
    main()

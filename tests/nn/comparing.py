"""Comparing a layer with PyTorch's: values and all gradients."""

from __future__ import annotations

import numpy as np

import inkle
from inkle import Tensor
from inkle.nn.state import get_parameters, get_state_dict

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def copy_to(ours, theirs, torch):
    """Give PyTorch's layer the values of ours; fails if a name or a shape differs."""
    state = get_state_dict(ours)
    assert {name: value.shape for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in theirs.state_dict().items()
    }
    theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in state.items()})


def leaves(value):
    """Return the tensors in nested tuples, without None."""
    if isinstance(value, tuple):
        return [leaf for each in value for leaf in leaves(each)]
    return [] if value is None else [value]


def compare(ours, theirs, torch, *inputs, tolerance=1e-4, **options):
    """Call both with arrays (None and tuples stay); compare all outputs and all gradients."""
    copy_to(ours, theirs, torch)
    mine = convert(inputs, lambda x: Tensor(x, requires_grad=x.dtype == np.float32))
    other = convert(inputs, lambda x: torch.tensor(x, requires_grad=x.dtype == np.float32))
    with inkle.training():
        got = leaves(ours(*mine, **convert(options, Tensor)))
    want = leaves(theirs(*other, **convert(options, torch.tensor)))
    assert [tuple(each.shape) for each in got] == [tuple(each.shape) for each in want]
    weights = [floats(*each.shape) for each in got]
    sum((each * Tensor(w)).sum() for each, w in zip(got, weights)).backward()
    sum((each * torch.tensor(w)).sum() for each, w in zip(want, weights)).backward()
    for a, b in zip(got, want):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), tolerance, tolerance)
    parameters = dict(theirs.named_parameters())
    names = [name for name, each in get_state_dict(ours).items() if each.requires_grad]
    assert len(get_parameters(ours)) == len(parameters) == len(names)
    pairs = [(get_state_dict(ours)[name], parameters[name]) for name in names]
    pairs += [pair for pair in zip(leaves(mine), leaves(other)) if pair[1].requires_grad]
    for a, b in pairs:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), tolerance, 10 * tolerance)


def convert(value, make):
    """Apply `make` to the arrays in nested tuples and dicts."""
    if isinstance(value, tuple):
        return tuple(convert(each, make) for each in value)
    if isinstance(value, dict):
        return {name: convert(each, make) for name, each in value.items()}
    return make(value) if isinstance(value, np.ndarray) else value

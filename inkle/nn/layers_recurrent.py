"""Recurrent layers: one loop over time for each layer and direction, see `inkle.scan`.

Names, shapes, order of the gates and first values are PyTorch's. What a layer computes from its
input is one product for all steps; the loop holds what depends on the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inkle.errors import OptionError, ShapeError
from inkle.nn import init
from inkle.tensor import Tensor
from inkle.tensor.arguments import check_choice
from inkle.tensor.scan import scan

State = tuple[Tensor, ...]  # (h,) or (h, c), each (batch, hidden_size)
Cell = Callable[[State, Tensor, Tensor], State]  # state, gates of the input, of the state


def _tanh(state: State, x: Tensor, h: Tensor) -> State:
    return ((x + h).tanh(),)


def _relu(state: State, x: Tensor, h: Tensor) -> State:
    return ((x + h).relu(),)


def _lstm(state: State, x: Tensor, h: Tensor) -> State:
    """Input, forget, cell and output gates (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(state: State, x: Tensor, h: Tensor) -> State:
    """Reset, update and new gates (Cho et al. 2014, with the reset after the product)."""
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    z = (xz + hz).sigmoid()
    n = (xn + (xr + hr).sigmoid() * hn).tanh()
    return ((1 - z) * n + z * state[0],)


_CELLS: dict[str, tuple[Cell, int, int]] = {  # with the numbers of gates and of states
    "tanh": (_tanh, 1, 1),
    "relu": (_relu, 1, 1),
    "lstm": (_lstm, 4, 2),
    "gru": (_gru, 3, 1),
}


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = x @ weight.T
    return out if bias is None else out + bias


class _Cell:
    """One step of a recurrent layer."""

    def __init__(self, kind: str, input_size: int, hidden_size: int, *, bias: bool) -> None:
        self.input_size = init.size(input_size, "input_size")
        self.hidden_size = init.size(hidden_size, "hidden_size", least=1)
        self._kind = kind
        gates = _CELLS[kind][1] * hidden_size
        self.weight_ih = init.uniform((gates, input_size), hidden_size)
        self.weight_hh = init.uniform((gates, hidden_size), hidden_size)
        self.bias_ih = init.uniform((gates,), hidden_size) if bias else None
        self.bias_hh = init.uniform((gates,), hidden_size) if bias else None

    def _step(self, x: Tensor, state: State | None) -> State:
        name = type(self).__name__
        x = init.given(x, name)
        if x.shape[-1:] != (self.input_size,):
            raise ShapeError(
                f"{name} needs {self.input_size} values on the last axis, got {x.shape}"
            )
        cell, _, states = _CELLS[self._kind]
        shape = (*x.shape[:-1], self.hidden_size)
        old = _first(state, states, shape, name, x)
        gates = _affine(x, self.weight_ih, self.bias_ih)
        return cell(old, gates, _affine(old[0], self.weight_hh, self.bias_hh))


class RNNCell(_Cell):
    """One step of `RNN`: h = tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh).

    Attributes:
        weight_ih: float32, shape (hidden_size, input_size).
        weight_hh: float32, shape (hidden_size, hidden_size).
        bias_ih: float32, shape (hidden_size,), or None; `bias_hh` likewise.

    Args:
        input_size: length of the last axis of the input.
        hidden_size: length of the state.
        bias: whether to add some.
        nonlinearity: "tanh" or "relu".
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        nonlinearity: str = "tanh",
    ) -> None:
        kind = check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity")
        super().__init__(kind, input_size, hidden_size, bias=bias)

    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Return the state after `x`; both (batch, ...) or without a batch; None: zeros."""
        return self._step(x, None if h is None else (h,))[0]


class LSTMCell(_Cell):
    """One step of `LSTM`; gates in the order input, forget, cell, output.

    Attributes:
        weight_ih: float32, shape (4 * hidden_size, input_size).
        weight_hh: float32, shape (4 * hidden_size, hidden_size).
        bias_ih: float32, shape (4 * hidden_size,), or None; `bias_hh` likewise.

    Args: as for `RNNCell`, without `nonlinearity`.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__("lstm", input_size, hidden_size, bias=bias)

    def __call__(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the state (h, c) after `x`."""
        h, c = self._step(x, hx)
        return h, c


class GRUCell(_Cell):
    """One step of `GRU`; gates in the order reset, update, new.

    Attributes:
        weight_ih: float32, shape (3 * hidden_size, input_size).
        weight_hh: float32, shape (3 * hidden_size, hidden_size).
        bias_ih: float32, shape (3 * hidden_size,), or None; `bias_hh` likewise.

    Args: as for `RNNCell`, without `nonlinearity`.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True) -> None:
        super().__init__("gru", input_size, hidden_size, bias=bias)

    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Return the state after `x`."""
        return self._step(x, None if h is None else (h,))[0]


class _Recurrent:
    """Layers of cells, each fed with the states of the one below."""

    def __init__(
        self,
        kind: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        self.input_size = init.size(input_size, "input_size")
        self.hidden_size = init.size(hidden_size, "hidden_size", least=1)
        self.num_layers = init.size(num_layers, "num_layers", least=1)
        if not 0 <= dropout <= 1:
            raise OptionError(f"dropout needs a probability from 0 to 1, got {dropout}")
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self._kind = kind
        gates = _CELLS[kind][1] * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            for suffix in self._suffixes(layer):
                for name, shape in (
                    ("weight_ih", (gates, width)),
                    ("weight_hh", (gates, hidden_size)),
                    ("bias_ih", (gates,)),
                    ("bias_hh", (gates,)),
                ):
                    wanted = bias or name.startswith("weight")
                    value = init.uniform(shape, hidden_size) if wanted else None
                    setattr(self, name + suffix, value)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def _run(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return the states of the last layer at all steps, and the last ones of all layers."""
        name = type(self).__name__
        x = init.given(x, name)
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}({self.input_size}, {self.hidden_size}) needs (steps, batch, "
                f"{self.input_size}), with batch_first (batch, steps, {self.input_size}), or "
                f"(steps, {self.input_size}); got {x.shape}"
            )
        swap = self.batch_first and x.ndim == 3
        x = x.transpose(0, 1) if swap else x
        states = _CELLS[self._kind][2]
        rows = self.num_layers * (1 + self.bidirectional)
        first = _first(state, states, (rows, *x.shape[1:-1], self.hidden_size), name, x)
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = x.dropout(self.dropout)
            outs = []
            for suffix in self._suffixes(layer):
                start = tuple(each[len(last)] for each in first)
                end, out = self._direction(suffix, x, start)
                last.append(end)
                outs.append(out)
            x = outs[0] if len(outs) == 1 else outs[0].cat(outs[1], dim=-1)
        ends = tuple(Tensor.stack(*[each[i] for each in last]) for i in range(states))
        return (x.transpose(0, 1) if swap else x), ends

    def _direction(self, suffix: str, x: Tensor, start: State) -> tuple[State, Tensor]:
        """Run one direction of one layer; return its last state, and h at all steps."""
        cell = _CELLS[self._kind][0]
        w_ih, w_hh, b_ih, b_hh = (
            getattr(self, name + suffix)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )

        def step(state: State, gates: Tensor) -> tuple[State, Tensor]:
            new = cell(state, gates, _affine(state[0], w_hh, b_hh))
            return new, new[0]

        result: tuple[State, Any] = scan(
            step, start, _affine(x, w_ih, b_ih), reverse=suffix.endswith("_reverse")
        )
        return result


def _first(
    state: State | None, count: int, shape: tuple[int, ...], name: str, like: Tensor
) -> State:
    """Return the state to begin with: zeros, unless given."""
    if state is None:
        return tuple(Tensor.zeros(*shape, dtype=like.dtype) for _ in range(count))
    if len(state) != count or any(each.shape != shape for each in state):
        shapes = [each.shape for each in state]
        raise ShapeError(f"{name} needs {count} states of shape {shape}, got {shapes}")
    return tuple(state)


class RNN(_Recurrent):
    """Elman network: h = tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh) at each step.

    Attributes:
        weight_ih_l0: float32, shape (hidden_size, input_size); higher layers have l1, l2, ... and
            as many inputs as the one below has outputs; backward directions end in "_reverse".
        weight_hh_l0: float32, shape (hidden_size, hidden_size).
        bias_ih_l0: float32, shape (hidden_size,), or None; `bias_hh_l0` likewise.

    Args:
        input_size: length of the last axis of the input.
        hidden_size: length of the state.
        num_layers: how many are stacked.
        nonlinearity: "tanh" or "relu".
        bias: whether to add some.
        batch_first: the input is (batch, steps, input_size), not (steps, batch, input_size).
        dropout: probability of dropping between layers, in training.
        bidirectional: a second network runs from the last step to the first; outputs are
            concatenated.

    Example:
        >>> out, h = RNN(3, 5)(Tensor.zeros(7, 2, 3))
        >>> out.shape, h.shape
        ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            check_choice(nonlinearity, ("tanh", "relu"), "nonlinearity"),
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
        )

    def __call__(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs of all steps, and the last state, (layers * directions, batch, ...).

        Args:
            x: (steps, batch, input_size) or (steps, input_size).
            h: the first state, shaped like the last; None: zeros.
        """
        out, last = self._run(x, None if h is None else (h,))
        return out, last[0]


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); as `RNN`, with four gates.

    Attributes: as for `RNN`, with 4 * hidden_size rows: gates input, forget, cell, output.

    Args: as for `RNN`, without `nonlinearity`.

    Example:
        >>> out, (h, c) = LSTM(3, 5, num_layers=2)(Tensor.zeros(7, 2, 3))
        >>> out.shape, h.shape, c.shape
        ((7, 2, 5), (2, 2, 5), (2, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            "lstm",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
        )

    def __call__(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs of all steps, and the last (h, c); arguments as for `RNN`."""
        out, (h, c) = self._run(x, hx)
        return out, (h, c)


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014); as `RNN`, with three gates.

    Attributes: as for `RNN`, with 3 * hidden_size rows: gates reset, update, new.

    Args: as for `RNN`, without `nonlinearity`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            "gru",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
        )

    def __call__(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs of all steps, and the last state; arguments as for `RNN`."""
        out, last = self._run(x, None if h is None else (h,))
        return out, last[0]

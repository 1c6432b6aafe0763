"""TensorFlow's three recurrent cells, run over whole sequences or one step at a time, from a zero state.

Weights lie as in torch's own modules, (gates * U, inputs) with the gates i, f, g, o of an LSTM. What differs from them:
one bias; the 1 that is added to an LSTM's forget gate is not stored in it; a GRU resets the state before its product.
"""

import torch
from torch import nn

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
State = tuple[torch.Tensor, ...]


class RecurrentCell(nn.Module):
    """One layer of "lstm" (no peepholes, forget bias 1), "gru" or "rnn" (tanh).

    Args:
        kind: the cell.
        inputs, hidden: E and U.
    """

    def __init__(self, kind: str, inputs: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.hidden = kind, hidden
        rows = GATES[kind] * hidden
        self.weight_ih = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden))
        self.bias = nn.Parameter(torch.zeros(rows))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, E) -> (batch, length, U) outputs of every step."""
        if self.kind == "gru":
            state, outputs = self.start(x), []
            for step in x.unbind(1):
                output, state = self.step(step, state)
                outputs.append(output)
            return torch.stack(outputs, 1) if outputs else x.new_zeros(len(x), 0, self.hidden)
        if not x.shape[1] or not len(x):
            return x.new_zeros(len(x), x.shape[1], self.hidden)
        weights = [self.weight_ih, self.weight_hh, self._run_bias(), torch.zeros_like(self.bias)]
        zero = x.new_zeros(1, len(x), self.hidden)
        options = (True, 1, 0.0, self.training, False, True)
        if self.kind == "lstm":
            return torch.lstm(x, [zero, zero], weights, *options)[0]
        return torch.rnn_tanh(x, zero, weights, *options)[0]

    def start(self, x: torch.Tensor) -> State:
        """The zero state for inputs (batch, ...)."""
        zero = x.new_zeros(len(x), self.hidden)
        return (zero, zero) if self.kind == "lstm" else (zero,)

    def step(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """(batch, E) and a state (h, c) or (h,) -> output (batch, U) and the next state."""
        hidden = state[0]
        if self.kind == "gru":
            return self._gru_step(x, hidden)
        gates = x @ self.weight_ih.T + hidden @ self.weight_hh.T + self._run_bias()
        if self.kind == "rnn":
            output = gates.tanh()
            return output, (output,)
        taken, kept, candidate, shown = gates.chunk(4, dim=-1)
        cell = state[1] * kept.sigmoid() + taken.sigmoid() * candidate.tanh()
        output = cell.tanh() * shown.sigmoid()
        return output, (output, cell)

    def _gru_step(self, x: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, State]:
        size = 2 * self.hidden
        gates = x @ self.weight_ih[:size].T + hidden @ self.weight_hh[:size].T + self.bias[:size]
        reset, update = gates.sigmoid().chunk(2, dim=-1)
        # torch.nn.GRU multiplies first and resets afterwards.
        candidate = x @ self.weight_ih[size:].T + (reset * hidden) @ self.weight_hh[size:].T + self.bias[size:]
        output = update * hidden + (1 - update) * candidate.tanh()
        return output, (output,)

    def _run_bias(self) -> torch.Tensor:
        if self.kind != "lstm":
            return self.bias
        offset = torch.zeros_like(self.bias)
        offset[self.hidden : 2 * self.hidden] = 1
        return self.bias + offset


def reversed_within(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(batch, length, ...) with the first `lengths` entries of every row in reverse order; the rest stays."""
    places = torch.arange(x.shape[1], device=x.device)[None]
    lengths = lengths.to(x.device)[:, None]
    order = torch.where(places < lengths, lengths - 1 - places, places)
    return x.gather(1, order.reshape(*order.shape, *[1] * (x.ndim - 2)).expand_as(x))


__all__ = ["RecurrentCell", "reversed_within"]

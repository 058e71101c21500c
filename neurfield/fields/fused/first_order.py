"""The forward sweep and the backward sweeps: gradients at the phases and weights, Jacobians."""

from __future__ import annotations

import numpy as np

from neurfield.fields.fused.sine import sine_and_cosine
from neurfield.fields.fused.tiles import (
    CUTS,
    GEOMETRY,
    MATRIX,
    STACK,
    TAPE,
    ZERO,
    add_matrix,
    add_tile,
    clear_tile,
    fill_tile,
    new_tile,
    part_of_sweep,
    sweep,
)

# A piece is of rows ``low`` to ``high``, of which ``start`` to ``stop`` are signal i's. Layers that
# do not add to the activations before them have a gain of 1.


@part_of_sweep
def _activate(products, shift, tile, sines, cosines, hidden, adds, gain):  # type: ignore[no-untyped-def]
    """Write sin u, cos u and h, of u = products + shift."""
    fill_tile(shift, tile)
    products, hidden = products.ravel(), hidden.ravel()
    sines, cosines = sines.ravel(), cosines.ravel()
    for start in range(0, products.size, tile.size):
        part = slice(start, min(start + tile.size, products.size))
        p, s, c, h = products[part], sines[part], cosines[part], hidden[part]
        for j in range(p.size):
            s[j], c[j] = sine_and_cosine(p[j] + tile[j])
            h[j] = (h[j] if adds else ZERO) + gain * s[j]


@sweep(*GEOMETRY, CUTS, MATRIX, STACK, STACK, MATRIX, TAPE, STACK, MATRIX)
def evaluate(  # type: ignore[no-untyped-def]
    n_points, skips, rho, cuts, first, shifts, forward, output, tape, scratch, values
):
    """Write the values, without their offset."""
    n_layers, tile = tape.shape[0], new_tile(tape.shape[3])
    shared = first.shape[0] == n_points
    for low, high in zip(cuts, cuts[1:]):  # noqa: B905, RUF007 - all that Numba knows
        hidden, products = scratch[0][: high - low], scratch[1][: high - low]
        for k in range(n_layers):
            adds = skips and k > 0
            if k > 0:
                np.dot(hidden, forward[k - 1], products)
            for i in range(low // n_points, (high - 1) // n_points + 1):
                start, stop = max(low, i * n_points), min(high, (i + 1) * n_points)
                part, source = hidden[start - low : stop - low], products[start - low : stop - low]
                if k == 0:
                    before = i * n_points if shared else 0
                    source = first[start - before : stop - before]
                sines, cosines = tape[k, 0][start:stop], tape[k, 1][start:stop]
                gain = rho if adds else np.float32(1.0)
                _activate(source, shifts[i, k], tile, sines, cosines, part, adds, gain)
        np.dot(hidden, output.T, values[low:high])


@part_of_sweep
def _carry(products, above, flows, cosines, deltas, tile, sums, adds):  # type: ignore[no-untyped-def]
    """Write a = products + above and a cos u, and add the latter's sum over rows."""
    clear_tile(tile)
    products, above, flows = products.ravel(), above.ravel(), flows.ravel()
    cosines, deltas = cosines.ravel(), deltas.ravel()
    for start in range(0, products.size, tile.size):
        part = slice(start, min(start + tile.size, products.size))
        p, b, a, c, d = products[part], above[part], flows[part], cosines[part], deltas[part]
        for j in range(p.size):
            a[j] = p[j] + (b[j] if adds else ZERO)
            d[j] = a[j] * c[j]
            tile[j] += d[j]
    add_tile(tile, sums)


@sweep("int64", "boolean", CUTS, STACK, MATRIX, TAPE, STACK, MATRIX, STACK)
def carry_back(  # type: ignore[no-untyped-def]
    n_points, skips, cuts, back, output, tape, scratch, cotangent, sums
):
    """Add a gradient at the phases to ``sums``, and leave that at the activations on the tape."""
    last, tile = tape.shape[0] - 1, new_tile(tape.shape[3])
    for low, high in zip(cuts, cuts[1:]):  # noqa: B905, RUF007
        deltas, products = scratch[0][: high - low], scratch[1][: high - low]
        np.dot(cotangent[low:high], output, products)
        for k in range(last, -1, -1):
            adds = skips and k < last
            for i in range(low // n_points, (high - 1) // n_points + 1):
                start, stop = max(low, i * n_points), min(high, (i + 1) * n_points)
                part = slice(start - low, stop - low)
                above = tape[k + 1, 2][start:stop] if adds else scratch[2][part]
                flows, cosines = tape[k, 2][start:stop], tape[k, 1][start:stop]
                _carry(products[part], above, flows, cosines, deltas[part], tile, sums[i, k], adds)
            if k > 0:
                np.dot(deltas, back[k - 1], products)


@part_of_sweep
def _pass_down(products, above, cosines, deltas, wide, k, adds):  # type: ignore[no-untyped-def]
    """Write a = products + above in the place of above, and a cos u, twice."""
    width = above.shape[1]
    for row in range(above.shape[0]):
        a, p, c, d = above[row], products[row], cosines[row], deltas[row]
        out = wide[row, k * width : (k + 1) * width]
        for j in range(width):
            a[j] = p[j] + (a[j] if adds else ZERO)
            d[j] = a[j] * c[j]
            out[j] = d[j]


@sweep("int64", "boolean", CUTS, STACK, MATRIX, MATRIX, TAPE, STACK, MATRIX, MATRIX)
def jacobian(  # type: ignore[no-untyped-def]
    channel, skips, cuts, back, output, phases, tape, scratch, wide, found
):
    """Write the derivative of one channel of the values by what ``phases`` takes to the phases.

    That of a piece at the phases is left in ``wide``, layer beside layer.
    """
    last = tape.shape[0] - 1
    for low, high in zip(cuts, cuts[1:]):  # noqa: B905, RUF007
        deltas, products = scratch[0][: high - low], scratch[1][: high - low]
        above, out = scratch[2][: high - low], wide[: high - low]
        for row in range(high - low):
            products[row] = output[channel]
        for k in range(last, -1, -1):
            _pass_down(products, above, tape[k, 1][low:high], deltas, out, k, skips and k < last)
            if k > 0:
                np.dot(deltas, back[k - 1], products)
        np.dot(out, phases, found[low:high])


@part_of_sweep
def _pass_up(sines, cosines, flows, before, deltas, hidden, adds, gain):  # type: ignore[no-untyped-def]
    """Write a cos u and h."""
    for row in range(hidden.shape[0]):
        s, c, a = sines[row], cosines[row], flows[row]
        b, d, h = before[row], deltas[row], hidden[row]
        for j in range(s.size):
            d[j] = a[j] * c[j]
            h[j] = (b[j] if adds else ZERO) + gain * s[j]


@sweep("boolean", "float32", CUTS, TAPE, STACK, MATRIX, STACK, MATRIX)
def collect(  # type: ignore[no-untyped-def]
    skips, rho, cuts, tape, scratch, cotangent, weight_gradients, output_gradient
):
    """Add the gradients at the weights that :func:`carry_back` left on the tape."""
    width, one = tape.shape[3], np.float32(1.0)
    of_layer, of_output = np.empty((width, width), np.float32), np.empty_like(output_gradient)
    for low, high in zip(cuts, cuts[1:]):  # noqa: B905, RUF007
        deltas = scratch[0][: high - low]
        before, hidden = scratch[1][: high - low], scratch[2][: high - low]
        for k in range(tape.shape[0]):
            adds = skips and k > 0
            before, hidden = hidden, before
            s, c, a = tape[k, 0][low:high], tape[k, 1][low:high], tape[k, 2][low:high]
            _pass_up(s, c, a, before, deltas, hidden, adds, rho if adds else one)
            if k > 0:
                np.dot(deltas.T, before, of_layer)
                add_matrix(weight_gradients[k - 1], of_layer, one)
        np.dot(cotangent[low:high].T, hidden, of_output)
        add_matrix(output_gradient, of_output, one)

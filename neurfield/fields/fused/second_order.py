"""The second-order sweep: forward along a direction, and the reverse of it."""

from __future__ import annotations

import numpy as np

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

# A piece is of rows ``low`` to ``high``, of which ``rows`` are signal i's, and ``part`` the same
# counted from ``low``. Layers that do not add to the activations before them have a gain of 1.


@part_of_sweep
def _tilt(  # type: ignore[no-untyped-def]
    products, shift, tile, layer, rows, before, hidden, deltas, after, inner, adds, gain
):
    """Write ḣ, h, a cos u and, in the place of a, a u̇ sin u, of u̇ = products + shift."""
    fill_tile(shift, tile)
    sines, cosines, flows = layer[0][rows].ravel(), layer[1][rows].ravel(), layer[2][rows].ravel()
    products, before, hidden = products.ravel(), before.ravel(), hidden.ravel()
    deltas, after = deltas.ravel(), after.ravel()
    for start in range(0, sines.size, tile.size):
        part = slice(start, min(start + tile.size, sines.size))
        s, c, a, d = sines[part], cosines[part], flows[part], deltas[part]
        p, b, t, h = products[part], before[part], after[part], hidden[part]
        for j in range(s.size):
            u = (p[j] if inner else ZERO) + tile[j]
            t[j] = (b[j] if adds else ZERO) + gain * c[j] * u
            d[j] = a[j] * c[j]
            a[j] *= s[j] * u
            h[j] = (h[j] if adds else ZERO) + gain * s[j]


@part_of_sweep
def _tilt_back(  # type: ignore[no-untyped-def]
    products, layer, rows, flow, hidden, tile, sums, inner, adds, rho
):
    """Write a = products + flow, add a cos u to what is in the place of a, take sin u from h."""
    clear_tile(tile)
    sines, cosines, deltas = layer[0][rows].ravel(), layer[1][rows].ravel(), layer[2][rows].ravel()
    products, flow, hidden = products.ravel(), flow.ravel(), hidden.ravel()
    for start in range(0, sines.size, tile.size):
        part = slice(start, min(start + tile.size, sines.size))
        s, c, d = sines[part], cosines[part], deltas[part]
        p, f, h = products[part], flow[part], hidden[part]
        for j in range(s.size):
            f[j] = p[j] + (f[j] if inner else ZERO)
            d[j] += f[j] * c[j]
            tile[j] += d[j]
            h[j] -= rho * s[j] if adds else ZERO
    add_tile(tile, sums)


@sweep(
    *(*GEOMETRY, CUTS, STACK, STACK, STACK, MATRIX, TAPE, STACK),
    *(MATRIX, MATRIX, MATRIX, STACK, MATRIX, STACK),
)
def bend(  # type: ignore[no-untyped-def]
    n_points,
    skips,
    rho,
    cuts,
    shifts,
    forward,
    back,
    output,
    tape,
    scratch,
    scale,
    first_cotangent,
    cotangent,
    weight_gradients,
    output_gradient,
    sums,
):
    """Write the change of the cotangent, and add those of the gradients to the last three."""
    last, tile = tape.shape[0] - 1, new_tile(tape.shape[3])
    one, width = np.float32(1.0), tape.shape[3]
    of_layer, of_output = np.empty((width, width), np.float32), np.empty_like(output)
    for low, high in zip(cuts, cuts[1:]):  # noqa: B905, RUF007
        signals = range(low // n_points, (high - 1) // n_points + 1)
        hidden, products = scratch[0][: high - low], scratch[1][: high - low]
        deltas, flow = scratch[2][: high - low], scratch[2][: high - low]
        before, after = scratch[3][: high - low], scratch[4][: high - low]
        for k in range(last + 1):
            adds = skips and k > 0
            gain = rho if adds else one
            if k > 0:
                before, after = after, before
                np.dot(before, forward[k - 1], products)
            for i in signals:
                rows = slice(max(low, i * n_points), min(high, (i + 1) * n_points))
                part = slice(rows.start - low, rows.stop - low)
                p, b, h, d = products[part], before[part], hidden[part], deltas[part]
                shift, layer, inner = shifts[i, k], tape[k], k > 0
                _tilt(p, shift, tile, layer, rows, b, h, d, after[part], inner, adds, gain)
            if k > 0:
                np.dot(deltas.T, before, of_layer)
                add_matrix(weight_gradients[k - 1], of_layer, one)
        change = cotangent[low:high]
        np.dot(after, output.T, change)
        for row in range(high - low):
            for channel in range(change.shape[1]):
                change[row, channel] *= scale[low + row, channel]
        np.dot(change.T, hidden, of_output)
        add_matrix(output_gradient, of_output, one)
        np.dot(first_cotangent[low:high].T, after, of_output)
        add_matrix(output_gradient, of_output, one)
        # −ȧ is carried back: the sign lets a u̇ sin u be added to in place.
        np.dot(change, output, products)
        for row in range(high - low):
            for j in range(width):
                products[row, j] = -products[row, j]
        for k in range(last, -1, -1):
            for i in signals:
                rows = slice(max(low, i * n_points), min(high, (i + 1) * n_points))
                part = slice(rows.start - low, rows.stop - low)
                p, f, h, total = products[part], flow[part], hidden[part], sums[i, k]
                inner, adds = skips and k < last, skips and k > 0
                _tilt_back(p, tape[k], rows, f, h, tile, total, inner, adds, rho)
            if k > 0:
                bent = tape[k, 2][low:high]
                np.dot(bent.T, hidden if skips else tape[k - 1, 0][low:high], of_layer)
                add_matrix(weight_gradients[k - 1], of_layer, -one)
                np.dot(bent, back[k - 1], products)

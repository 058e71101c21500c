"""Everything that sweeps find on one block, by name, and blocks to find it on."""

import torch

from neurfield.fields.sweeps import Block


def block(d, channels, shared, gaps, n_signals=5, n_points=20):
    """Draw a block in float64, with another count for each signal."""
    coords = 2.0 * torch.rand(n_signals, n_points, d, dtype=torch.float64) - 1.0
    values = torch.rand(n_signals, n_points, channels, dtype=torch.float64)
    weights = (torch.rand_like(values) > 0.4).double() if gaps else None
    counts = n_points + torch.arange(n_signals, dtype=torch.float64)
    return Block(coords[0] if shared else coords, values, weights, counts)


def as_float(part):
    return Block(*(None if each is None else each.float() for each in vars(part).values()))


def entries(field, sweeps, part, latents, direction, cotangent):
    """Call every method of sweeps; what is at the shifts is pulled back to the latents."""
    tape, shifts = sweeps.tape(), sweeps.shifts(latents)
    found = {"residual": sweeps.evaluate(tape, part, shifts).clone()}
    found["jacobian"] = sweeps.jacobian(tape, part).clone()
    found["carried back"] = sweeps.pull(sweeps.carry_back(tape, part, cotangent.clone()))
    forward = sweeps.carry_forward(tape, part, sweeps.push(direction))
    found["carried forward"] = forward.clone()
    found["losses"], gradient = sweeps.descend(tape, part, shifts)
    found["gradient"] = sweeps.pull(gradient)
    sweeps.collect(tape, part)
    sweeps.collect_shifts(gradient, latents, direct=True)
    collected = {f"collected {name}": g.clone() for name, g in sweeps.gradients().items()}
    sweeps.refresh(field)
    sweeps.descend(tape, part, shifts)
    bent = sweeps.bend(tape, part, sweeps.push(direction))
    sweeps.collect_shifts(gradient, direction, direct=False)
    sweeps.collect_shifts(bent, latents, direct=True)
    found["bent"] = sweeps.pull(bent)
    return found | collected | {f"bent {name}": g for name, g in sweeps.gradients().items()}

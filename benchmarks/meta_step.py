"""Time and peak memory of one meta-step of CAVIA, beside a textbook CAVIA in the same run.

    python benchmarks/meta_step.py [--only medfuncta-1d reduced-2d-28] [--threads 2] [--csv out.csv]

Each row is measured in fresh processes, one in each round, in turn with the others: a machine's
speed changes with the minutes. Times and memory are medians over rounds of each one's median. All
have the same weights, signals and reduced contexts. Memory is what the first step adds to the peak
of the process (on a GPU: what torch has allocated at most).
``cpu_ms`` is the processor time of a step, which a busy machine disturbs less than its duration.
``gradient`` and ``loss`` are relative differences to the textbook, of the whole meta-gradient and
of the meta-loss. The row of the default learner, varpro, has its own batch size and network and the
same latent size; it is there for scale.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meta_problems import CONFIGURATIONS, Configuration
from peers.textbook_cavia import TextbookSiren, textbook_meta_loss
from tables import report

from neurfield.learning.learners.cavia import CaviaStep

PEER = "textbook"
METHODS = (PEER, "cavia", "cavia recompute", "cavia compiled", "varpro")
Step = Callable[[], tuple[float, np.ndarray]]


def textbook(configuration: Configuration, device: torch.device) -> Step:
    """Return the peer's meta-step: it gives the loss and the gradient, flattened."""
    field, batch = configuration.field(device), configuration.batch(device)
    peer = TextbookSiren(field.state_dict(), field.omegas[: len(field.layers)])
    names = [name for name, _ in field.named_parameters()]

    def step() -> tuple[float, np.ndarray]:
        peer.zero_grad(set_to_none=True)
        loss = textbook_meta_loss(
            peer,
            batch.context.coords,
            batch.context.values,
            batch.subsets,
            configuration.inner_steps,
            configuration.inner_lr,
            configuration.latent_dim,
        )
        loss.backward()
        found = peer.gradients()
        return float(loss.detach()), _flat([found[name] for name in names])

    return step


def cavia(configuration: Configuration, device: torch.device, option: str) -> Step:
    """Return the package's meta-step."""
    field, batch = configuration.field(device), configuration.batch(device)
    module = CaviaStep(
        field,
        configuration.inner_steps,
        configuration.inner_lr,
        recompute=option == "recompute",
    )
    if option == "compiled":
        module.compile(mode="reduce-overhead" if device.type == "cuda" else None)
    return _backward_step(module, batch)


def varpro(configuration: Configuration, device: torch.device) -> Step:
    """Return the default learner's meta-step."""
    learner, batch = configuration.varpro(device)
    return _backward_step(learner.meta_step(configuration.field(device, 0.3)), batch)


def _backward_step(module: torch.nn.Module, batch: Any) -> Step:
    def step() -> tuple[float, np.ndarray]:
        module.zero_grad(set_to_none=True)
        loss = module(batch)
        loss.backward()
        return float(loss.detach()), _flat([p.grad for p in module.parameters()])

    return step


def _flat(gradients: list[torch.Tensor]) -> np.ndarray:
    return torch.cat([gradient.flatten() for gradient in gradients]).cpu().numpy()


def measure(
    method: str, configuration: Configuration, device: str, threads: int, repeats: int
) -> tuple[float, float, float, float, np.ndarray]:
    """Return median seconds, median processor seconds, peak MiB, loss and gradient."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    if method == PEER:
        step = textbook(configuration, place)
    elif method == "varpro":
        step = varpro(configuration, place)
    else:
        step = cavia(configuration, place, method.removeprefix("cavia").strip())
    before = _peak(place)
    loss, gradient = step()
    memory = _peak(place) - before
    seconds, cpu = [], []
    for _ in range(repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return statistics.median(seconds), statistics.median(cpu), memory, loss, gradient


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def run(name: str, methods: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one configuration and return its rows."""
    rounds = []
    for _ in range(args.rounds):
        rounds.append({})
        for method in methods:
            # A fresh process: the peak of a process never falls.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                work = (method, CONFIGURATIONS[name], args.device, args.threads, args.repeats)
                rounds[-1][method] = pool.apply(measure, work)
    found = {}
    for method in methods:
        medians = [statistics.median(one[method][i] for one in rounds) for i in range(3)]
        found[method] = (*medians, *rounds[-1][method][3:])
    rows = []
    peer = found.get(PEER)
    for method, (seconds, cpu, memory, loss, gradient) in found.items():
        row = {"configuration": name, "method": method}
        row |= {"step_ms": round(1e3 * seconds, 1), "cpu_ms": round(1e3 * cpu, 1)}
        row |= {"memory_mib": round(memory)}
        row |= dict.fromkeys(("speed", "cpu_speed", "memory", "loss", "gradient"), "")
        if peer is not None:
            row["speed"] = f"{peer[0] / seconds:.2f}x"
            row["cpu_speed"] = f"{peer[1] / cpu:.2f}x"
            row["memory"] = f"{memory / peer[2]:.3f}x"
            if method != "varpro":
                row["loss"] = f"{abs(loss / peer[3] - 1):.1e}"
                error = np.linalg.norm(gradient - peer[4]) / np.linalg.norm(peer[4])
                row["gradient"] = f"{error:.1e}"
        rows.append(row)
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        choices=sorted(CONFIGURATIONS),
        nargs="+",
        default=["medfuncta-1d", "reduced-2d-28"],
    )
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=list(METHODS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed in a round")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    rows = [row for name in args.only for row in run(name, args.methods, args)]
    report(rows, args.csv)


if __name__ == "__main__":
    main()

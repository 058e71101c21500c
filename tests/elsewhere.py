"""A device that is not the CPU, on machines that have no other: "meta", with values after all.

Tensors there are kept as tensors of the CPU, which do the work. Like a GPU it refuses operations on
tensors of two devices and does not show its memory to NumPy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

NAME = "meta"
_PLACE = torch.device(NAME)
# Take tensors of both, as they do on a GPU.
_BETWEEN = {"copy_", "_to_copy", "index", "index_put_", "_index_put_impl_"}


class Elsewhere(torch.Tensor):
    """What is told to be elsewhere."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "Elsewhere":
        return torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=_PLACE,
        )

    def __init__(self, here: torch.Tensor) -> None:
        self.here = here

    def __repr__(self) -> str:
        return f"Elsewhere({self.here})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _perform(func, args, kwargs or {})


class _Elsewhere(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _perform(func, args, kwargs or {})


def _perform(func: Any, args: Any, kwargs: Any) -> Any:
    given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    there = any(isinstance(each, Elsewhere) for each in given)
    name = func._schema.name.split("::")[1]
    if there and name not in _BETWEEN:
        strangers = [e for e in given if not isinstance(e, Elsewhere) and e.ndim]
        if strangers:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    wanted = kwargs.get("device")
    goes = torch.device(wanted) == _PLACE if wanted is not None else there
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if name == "copy_":
        goes = isinstance(args[0], Elsewhere)
    own_args, own_kwargs = tree_map_only(Elsewhere, lambda each: each.here, (args, kwargs))
    found = func(*own_args, **own_kwargs)
    if name == "_to_copy" and any(found is each.here for each in given if hasattr(each, "here")):
        found = found.clone()
    if not goes:
        return found
    wrapped = tree_map_only(torch.Tensor, Elsewhere, found)
    if not there:
        return wrapped
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


class _MadeHere(TorchFunctionMode):
    """Numbers that become a tensor do so on the CPU, and are moved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return func(args[0].here, *args[1:], **kwargs).to(NAME)
        made = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor)
        if made and torch.device(kwargs.get("device") or "cpu") == _PLACE:
            return func(*args, **kwargs | {"device": "cpu"}).to(NAME)
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[str]:
    """Give the name of a device that is not the CPU, and what it takes to work there."""
    with _MadeHere(), _Elsewhere():
        yield NAME

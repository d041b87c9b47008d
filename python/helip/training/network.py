"""The model of a run on its device: alone, replicated (DDP) or sharded (FSDP2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from helip.common.errors import UnsupportedError
from helip.common.processes import Processes
from helip.models.weights import fit_state_dict
from helip.training.optimizing.optimizer import load_optimizer_tensors, optimizer_tensors
from helip.training.options import RunOptions


class Network:
    """Calls the model, and does to its weights and gradients what depends on where they lie.

    States that come out of it, and go into it, are whole tensors, so that a checkpoint does not
    depend on how the model was sharded.

    run: its ``parallel``, ``grad_checkpointing`` and ``compiled`` count.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        processes: Processes,
        run: RunOptions | None = None,
    ) -> None:
        run = run or RunOptions()
        self.compiled = run.compiled
        self.parallel = run.parallel if processes.count > 1 else None
        self._processes = processes
        if run.grad_checkpointing:
            _checkpoint_activations(model)
        if processes.count > 1 and device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model.to(device)
        blocks = _blocks(model) if self.parallel == "fsdp" else []
        if run.compiled:  # in place: names of weights stay as they are
            for module in blocks or [model]:
                module.compile()
        self._called: Callable[..., Any] = self.model
        if self.parallel == "ddp":
            self._called = nn.parallel.DistributedDataParallel(
                self.model,
                device_ids=[device] if device.type == "cuda" else None,
            )
        elif self.parallel == "fsdp":
            _shard(self.model, blocks, device)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self._called(*inputs, **named)

    def hold(self) -> AbstractContextManager[Any]:
        """Inside, gradients are not averaged over processes yet."""
        if self.parallel == "ddp":
            return self._called.no_sync()  # type: ignore[attr-defined]
        return self._unsynchronised() if self.parallel == "fsdp" else contextlib.nullcontext()

    def gradients_are_ready(self) -> None:
        """Average what the wrapper left alone; to be called after the last backward of a step."""
        if self.parallel == "fsdp":
            for parameter in self._parameters(sharded=False):
                assert parameter.grad is not None
                parameter.grad = self._processes.mean(parameter.grad)

    def gradient_norm(self) -> Tensor:
        """Of all gradients of all processes, on the device; a collective."""
        plain = nn.utils.get_total_norm(self._gradients(sharded=False))
        if self.parallel != "fsdp":
            return plain
        parts: Any = nn.utils.get_total_norm(self._gradients(sharded=True))
        return torch.stack([plain, parts.full_tensor()]).square().sum().sqrt()

    def clip_gradients(self, bound: float, norm: Tensor) -> None:
        """Scale all gradients so that their norm, ``norm`` now, is at most ``bound``."""
        for sharded in (False, True):
            if parameters := list(self._parameters(sharded=sharded)):
                nn.utils.clip_grads_with_norm_(parameters, bound, norm)

    def separate(self, optimizer: torch.optim.Optimizer) -> None:
        """Put parameters that are not sharded into groups of their own: no kernel takes both."""
        for group in list(optimizer.param_groups) if self.parallel == "fsdp" else ():
            plain = [p for p in group["params"] if not is_sharded(p)]
            if plain and len(plain) < len(group["params"]):
                group["params"] = [p for p in group["params"] if is_sharded(p)]
                optimizer.add_param_group({**group, "params": plain})

    def state_dict(self) -> dict[str, Tensor]:
        """The whole weights, on rank 0; a collective."""
        return whole(self.model.state_dict(), keep=self._processes.leads)

    def load_state_dict(self, state: Mapping[str, Tensor], label: str) -> None:
        fit_state_dict(self.model, parts_like(state, self.model.state_dict()), label)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """`optimizer_tensors`, whole, on rank 0; a collective."""
        tensors = optimizer_tensors(optimizer, self.model.named_parameters())
        return whole(tensors, keep=self._processes.leads)

    def load_optimizer_state(
        self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
    ) -> None:
        like = dict(self.model.named_parameters())
        parts = {
            name: _part(tensor, like.get(name.partition("|")[0])) if tensor.dim() else tensor
            for name, tensor in tensors.items()
        }
        load_optimizer_tensors(optimizer, self.model.named_parameters(), parts)

    def _parameters(self, *, sharded: bool) -> Iterator[nn.Parameter]:
        for parameter in self.model.parameters():
            if parameter.grad is not None and is_sharded(parameter) == sharded:
                yield parameter

    def _gradients(self, *, sharded: bool) -> list[Tensor]:
        return [p.grad for p in self._parameters(sharded=sharded) if p.grad is not None]

    @contextlib.contextmanager
    def _unsynchronised(self) -> Iterator[None]:
        model: Any = self.model
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)


def named_outputs(out: Any) -> dict[str, Tensor]:
    """Either form of open_clip's output as a dict."""
    if isinstance(out, dict):
        return out
    names = ("image_features", "text_features", "logit_scale", "logit_bias")
    return dict(zip(names, out, strict=False))  # most models have no bias


def _checkpoint_activations(model: nn.Module) -> None:
    switch = getattr(model, "set_grad_checkpointing", None)
    if switch is None:
        raise UnsupportedError(
            f"grad_checkpointing needs a model with set_grad_checkpointing(), as open_clip's have; "
            f"{type(model).__name__} has none"
        )
    switch(True)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated layers: members of a list of two and more modules of one class."""
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside or not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        members = [child for child in module if any(True for _ in child.parameters())]
        if len(members) >= 2 and len({type(child) for child in members}) == 1:
            found += members
            inside.update(part for child in members for part in child.modules())
    return found


def _shard(model: nn.Module, blocks: Iterable[nn.Module], device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    share_weights(model)
    # A number cannot be cut in parts: the temperature, a bias.
    numbers = {p for p in model.parameters() if p.dim() == 0}
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=numbers)


def is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def share_weights(model: nn.Module) -> None:
    """Give all processes the weights of rank 0, as DDP does; a collective."""
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)


def whole(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Sharded tensors gathered from all processes, others as they are; a collective.

    A gathered tensor goes to the CPU at once, or with ``keep=False`` away.
    """
    found = {}
    for name, value in tensors.items():
        if is_sharded(value):
            gathered: Tensor = value.full_tensor()  # type: ignore[attr-defined]
            value = gathered.cpu() if keep else gathered.new_empty(0)
        found[name] = value
    return found


def parts_like(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `whole`: this process's parts, laid out as those of the same name are."""
    return {name: _part(value, like.get(name)) for name, value in tensors.items()}


def _part(tensor: Tensor, like: Any) -> Tensor:
    """This process's part of a whole tensor, where ``like`` is sharded and of its shape."""
    if like is None or not is_sharded(like) or like.shape != tensor.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)

"""LoRA adapters on one frozen base: teacher, student and fake model share its weights."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from swd.lora.adaptable import Adaptable
from swd.lora.checkpointing import CheckpointMode, checkpoint_blocks
from swd.lora.fitting import check_shapes

DenoiserT = TypeVar("DenoiserT", bound=Adaptable)


class AdapterBank(Generic[DenoiserT]):
    """Named LoRA adapters on one frozen denoiser; with all of them off it is the teacher.

    peft's own `set_adapter` also flips `requires_grad` of whatever it switches, which would silently thaw the fake
    model inside a student step. `use` flips two fields per layer and nothing else; what trains is said by `trainable`.

    Args:
        denoiser: its network, a diffusers model, gets the LoRA layers, and all its other parameters are frozen.
        rank: LoRA rank.
        alpha: LoRA alpha; the update is alpha / rank B A.
        names: adapters to make; all start as the teacher (B = 0), A is Gaussian with deviation 1 / rank.
        seed: of the initial A, each adapter its own stream; the global rng is left as it was.
    """

    def __init__(
        self,
        denoiser: DenoiserT,
        *,
        rank: int = 64,
        alpha: float = 64,
        names: Sequence[str] = ("student", "fake"),
        seed: int,
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        self.denoiser = denoiser
        self.names = tuple(names)
        self.rank, self.alpha = rank, alpha
        network = denoiser.network.requires_grad_(False)
        network.disable_gradient_checkpointing()  # that of an earlier bank would recompute under its adapters
        config = LoraConfig(
            r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(denoiser.backbone.lora_targets)
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are the point
            for name in names:
                inject_adapter_in_model(config, network, adapter_name=name)
        self._layers = {key: layer for key, layer in network.named_modules() if isinstance(layer, LoraLayer)}
        for stream, name in enumerate(names):
            self._initialise(name, torch.Generator().manual_seed(seed + 1_000_003 * stream))
        self._activate(None)

    def _initialise(self, name: str, rng: torch.Generator) -> None:
        """Float32 whatever the base is (an optimiser of half-precision weights would lose small updates)."""
        for layer in self._layers.values():
            down, up = (side[name].float().requires_grad_(False) for side in (layer.lora_A, layer.lora_B))
            down.weight.copy_(torch.randn(down.weight.shape, generator=rng, dtype=torch.float32) / self.rank)
            up.weight.zero_()

    @property
    def active(self) -> str | None:
        """Name of the adapter in use; None is the teacher."""
        return self._active

    def _activate(self, name: str | None) -> None:
        self._active = name
        for layer in self._layers.values():
            layer._disable_adapters = name is None
            layer._active_adapter = [] if name is None else [name]

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"no adapter {name!r}, expected one of {', '.join(self.names)}")

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Run the denoiser as ``name`` inside; None is the teacher. Nests, restores, leaves `requires_grad` alone.

        Backward passes may run anywhere: the graph remembers its weights. Recomputation does not, so turn on gradient
        checkpointing with `enable_gradient_checkpointing` of this class rather than the network's.
        """
        if name is not None:
            self._check(name)
        previous = self._active
        if name != previous:
            self._activate(name)
        try:
            yield
        finally:
            if name != previous:
                self._activate(previous)

    @contextmanager
    def trainable(self, name: str) -> Iterator[None]:
        """Only the parameters of ``name`` require gradients inside; the flags are put back after."""
        ours = {id(parameter) for parameter in self.parameters(name)}
        flags = [(parameter, parameter.requires_grad) for parameter in self.denoiser.network.parameters()]
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in ours)
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

    def enable_gradient_checkpointing(self, mode: CheckpointMode = "full") -> None:
        """Checkpoint blocks, and recompute them under the adapter they first ran under, whatever is in use by then."""
        checkpoint_blocks(self, mode)

    def named_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Weights of one adapter by PEFT key, such as ``transformer_blocks.0.attn.to_q.lora_A.weight``."""
        self._check(name)
        return {
            f"{key}.{side}.weight": getattr(layer, side)[name].weight
            for key, layer in self._layers.items()
            for side in ("lora_A", "lora_B")
        }

    def parameters(self, name: str) -> list[nn.Parameter]:
        """Weights of one adapter, in the order of the network."""
        return list(self.named_parameters(name).values())

    def state_dict(self, name: str) -> dict[str, Tensor]:
        """Weights of one adapter in PEFT layout, detached, sharing memory."""
        return {key: weight.detach() for key, weight in self.named_parameters(name).items()}

    def load_state_dict(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Copy weights in PEFT layout into an adapter.

        Raises:
            ValueError: when a key is missing or unknown or a shape differs; nothing is copied then.
        """
        parameters = self.named_parameters(name)
        check_shapes(state, {key: tuple(parameter.shape) for key, parameter in parameters.items()})
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(state[key])

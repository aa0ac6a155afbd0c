"""LoRA adapters on one frozen base: teacher, student and fake model share its weights.

The layout on disk is PEFT's as diffusers reads it, so `StableDiffusion3Pipeline.load_lora_weights` takes an exported
student as it is.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from swd.backbones.sd3.denoiser import SD3Denoiser

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
ADAPTER_FILE = "pytorch_lora_weights.safetensors"
_PREFIX = "transformer."  # component of the pipeline that diffusers loads the keys into
_PEFT_METADATA = "lora_adapter_metadata"  # diffusers' header key for the LoraConfig
_OUR_METADATA = "swd"
_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)
_ATTENTION = (
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)


class AdapterBank:
    """Named LoRA adapters on one frozen denoiser; with all of them off it is the teacher.

    peft's own `set_adapter` also flips `requires_grad` of whatever it switches, which would silently thaw the fake
    model inside a student step. `use` flips two fields per layer and nothing else; what trains is said by `trainable`.

    Args:
        denoiser: its transformer gets the LoRA layers, and all its other parameters are frozen.
        rank: LoRA rank.
        alpha: LoRA alpha; the update is alpha / rank B A.
        names: adapters to make; all start as the teacher (B = 0), A is Gaussian with deviation 1 / rank.
        seed: of the initial A, each adapter its own stream; the global rng is left as it was.
    """

    def __init__(
        self,
        denoiser: SD3Denoiser,
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
        transformer = denoiser.transformer.requires_grad_(False)
        transformer.disable_gradient_checkpointing()  # that of an earlier bank would recompute under its adapters
        config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(LORA_TARGETS))
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are the point
            for name in names:
                inject_adapter_in_model(config, transformer, adapter_name=name)
        self._layers = {key: layer for key, layer in transformer.named_modules() if isinstance(layer, LoraLayer)}
        for stream, name in enumerate(names):
            self._initialise(name, torch.Generator().manual_seed(seed + 1_000_003 * stream))
        self._activate(None)

    def _initialise(self, name: str, rng: torch.Generator) -> None:
        """Float32 whatever the base is (an optimiser of half-precision weights would lose small updates)."""
        for layer in self._layers.values():
            down, up = (side[name].float().requires_grad_(False) for side in (layer.lora_A, layer.lora_B))
            down.weight.copy_(torch.randn(down.weight.shape, generator=rng) / self.rank)
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
        checkpointing with `enable_gradient_checkpointing` of this class rather than the transformer's.
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
        flags = [(parameter, parameter.requires_grad) for parameter in self.denoiser.parameters()]
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in ours)
        try:
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

    def enable_gradient_checkpointing(self, mode: Literal["selective", "half", "full"] = "full") -> None:
        """Checkpoint blocks, and recompute them under the adapter they first ran under, whatever is in use by then.

        Args:
            mode: "full", every block. "half", every second block; the last one is kept, since it would be computed
                again at once. "selective", every block, but the results of attention and of the base's matrix products
                are kept: what is computed again is cheap, namely norms, activations, and the second product of an
                adapter, as large as the base's and as little work as its rank.
        """

        def policy(context: SelectiveCheckpointContext, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            costly = operator in _ATTENTION or (operator in _PRODUCTS and args[-1].shape[-2] > 2 * self.rank)
            return CheckpointPolicy.MUST_SAVE if costly else CheckpointPolicy.PREFER_RECOMPUTE

        context = partial(create_selective_checkpoint_contexts, policy) if mode == "selective" else noop_context_fn
        transformer = self.denoiser.transformer
        kept = set(transformer.transformer_blocks[::-2]) if mode == "half" else set()

        def checkpointed(block: nn.Module, *args: Any) -> Any:
            if block in kept:
                return block(*args)
            name = self._active

            def run(*inputs: Any) -> Any:
                with self.use(name):
                    return block(*inputs)

            return checkpoint(run, *args, use_reentrant=False, context_fn=context)

        transformer.enable_gradient_checkpointing(checkpointed)

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
        _check_shapes(state, {key: tuple(parameter.shape) for key, parameter in parameters.items()})
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(state[key])


def _check_shapes(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(f"adapter does not fit: {_some('missing', missing)}, {_some('unknown', unknown)}")
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            raise ValueError(f"adapter does not fit: {key} has shape {tuple(state[key].shape)}, expected {shape}")


def _some(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what} keys" + (f" (first {keys[0]})" if keys else "")


def save_adapter(
    bank: AdapterBank,
    name: str,
    folder: Path | str,
    metadata: Mapping[str, object] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write one adapter so that `StableDiffusion3Pipeline.load_lora_weights(folder)` takes it.

    The file appears under its name only when it is complete.

    Args:
        bank: where the adapter lives.
        name: which one.
        folder: made when missing.
        metadata: anything JSON can hold (schedule, training config); kept in the header, read back by `read_adapter`.
        dtype: of the stored weights.

    Returns:
        Path of the written file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"r": bank.rank, "lora_alpha": bank.alpha, "target_modules": list(LORA_TARGETS)}
    header = {
        "format": "pt",
        _PEFT_METADATA: json.dumps({_PREFIX + key: value for key, value in config.items()}, sort_keys=True),
        _OUR_METADATA: json.dumps(dict(metadata or {}), sort_keys=True),
    }
    state = bank.state_dict(name)
    tensors = {_PREFIX + key: weight.to("cpu", dtype).contiguous() for key, weight in state.items()}
    partial = folder / f".{ADAPTER_FILE}.partial"
    save_file(tensors, partial, metadata=header)
    os.replace(partial, folder / ADAPTER_FILE)
    return folder / ADAPTER_FILE


def read_adapter(folder: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of an adapter by PEFT key, and its metadata: ``rank``, ``alpha`` and what `save_adapter` was given.

    Args:
        folder: folder that holds the adapter file, or the file itself.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is truncated or not an adapter.
    """
    path = Path(folder)
    path = path if path.is_file() else path / ADAPTER_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no adapter at {path}, expected a file {ADAPTER_FILE}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {key.removeprefix(_PREFIX): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error
    ranks = {weight.shape[0] for key, weight in state.items() if key.endswith("lora_A.weight")}
    if len(ranks) != 1:
        raise ValueError(f"{path} is not a LoRA adapter of one rank: found ranks {sorted(ranks)}")
    rank = ranks.pop()
    alpha = json.loads(header.get(_PEFT_METADATA, "{}")).get(_PREFIX + "lora_alpha", rank)
    return state, {**json.loads(header.get(_OUR_METADATA, "{}")), "rank": rank, "alpha": alpha}


def load_adapter(transformer: nn.Module, folder: Path | str, *, name: str = "student") -> dict[str, Any]:
    """Put an adapter file onto a plain transformer, in use and frozen, after checking that it fits.

    Args:
        transformer: SD3Transformer2DModel without an adapter of that name.
        folder: what `save_adapter` wrote.
        name: name to give the adapter.

    Returns:
        The adapter's metadata.

    Raises:
        FileNotFoundError: when there is no file.
        ValueError: when the file is broken or the adapter has another shape than the transformer.
    """
    state, metadata = read_adapter(folder)
    rank = metadata["rank"]
    check_adapter_fits(transformer, state, rank)
    config = {"r": rank, "lora_alpha": metadata["alpha"], "target_modules": list(LORA_TARGETS)}
    transformer.load_lora_adapter(dict(state), prefix=None, adapter_name=name, metadata=config)
    for key, parameter in transformer.named_parameters():
        if f".{name}." in key:
            parameter.requires_grad_(False)
    return metadata


def check_adapter_fits(transformer: nn.Module, state: Mapping[str, Tensor], rank: int) -> None:
    """Raise ValueError, naming the first weight that differs, unless ``state`` is an adapter of this transformer."""
    expected = {}
    for key, module in transformer.named_modules():
        key = key.removesuffix(".base_layer")
        if isinstance(module, nn.Linear) and key.endswith(tuple(f".{target}" for target in LORA_TARGETS)):
            expected[f"{key}.lora_A.weight"] = (rank, module.in_features)
            expected[f"{key}.lora_B.weight"] = (module.out_features, rank)
    _check_shapes(state, expected)

"""What a student starts from: the teacher, or a student that there is already."""

from collections.abc import Mapping
from pathlib import Path

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from swd.backbones.base import Denoiser
from swd.errors import AdapterError, ConfigError
from swd.lora.bank import AdapterBank
from swd.lora.files import open_adapter
from swd.training.config import DistillConfig

Start = Path | str | Mapping[str, Tensor]  # file, folder, name on the Hub, or tensors


def new_bank(config: DistillConfig, denoiser: Denoiser, student: Start | None) -> AdapterBank[Denoiser]:
    """Adapters of a run on the teacher's network.

    Raises:
        FileNotFoundError: there is no such student.
        AdapterError: it cannot be read.
        ConfigError: it does not fit, or the network has an adapter on it already.
    """
    check_plain(denoiser)
    bank = AdapterBank(denoiser, rank=config.rank, alpha=config.alpha, names=config.adapters, seed=config.seed)
    if student is not None:
        start_from(bank, student)
    if "target" in bank.names:  # an average of the student starts where the student does
        bank.load_state_dict("target", bank.state_dict("student"))
    return bank


def check_plain(denoiser: Denoiser) -> None:
    """Make sure that the teacher is the network's own weights: an adapter on it would be switched off.

    Raises:
        ConfigError: an adapter is in use, or fused without being unloaded; the message says what to do.
    """
    for name, layer in denoiser.network.named_modules():
        if isinstance(layer, BaseTunerLayer) and (layer.merged_adapters or _in_use(layer)):
            adapter = next(iter((*layer.merged_adapters, *layer.active_adapters)))
            raise ConfigError(
                f"the network has the adapter {adapter} on it ({name}), which training would ignore: to start from it, "
                "unload it (unload_lora_weights) and give it as the student to start from; to make it a part of the "
                "teacher, fuse it (fuse_lora), then unload it"
            )


def _in_use(layer: BaseTunerLayer) -> bool:
    return bool(layer.active_adapters) and not layer.disable_adapters


def start_from(bank: AdapterBank[Denoiser], source: Start) -> None:
    """Copy a student of any layout into the bank's, with the same effect whatever its alpha was.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it has another rank or other layers than the bank's; nothing is copied then.
        AdapterError: it cannot be read.
    """
    adapter = open_adapter(source, bank.denoiser.backbone.layer_names)
    if adapter.text_encoders:
        raise ConfigError(f"{adapter.source} adapts {next(iter(adapter.text_encoders))} too, which training does not")
    own, state = bank.alpha / bank.rank, adapter.state()
    for name, weights in adapter.layers.items():
        scale = weights.scale(rslora=adapter.rslora)
        state[f"{name}.lora_B.weight"] = weights.up * (scale / own)
    try:
        bank.load_state_dict("student", state)
    except AdapterError as error:
        raise ConfigError(
            f"the student cannot start from {adapter.source}: {error}; rank and layers have to be those of this run, "
            f"whose rank is {bank.rank}"
        ) from error

"""The way into a distillation run."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from swd.backbones.base import Denoiser
from swd.data.cache import LatentCache
from swd.errors import ConfigError
from swd.locks import holding
from swd.training.config import DistillConfig
from swd.training.launch import check_group, launched
from swd.training.start import Start
from swd.training.together import together
from swd.training.trainer import Trainer, TrainResult

# How long processes wait for one: the main process alone downloads weights and hashes the cache, and a terabyte takes
# longer than the ten minutes after which NCCL gives up. Of a process that died the launcher tells at once.
PATIENCE = timedelta(hours=6)


def train(
    config: DistillConfig,
    denoiser: Denoiser,
    data: LatentCache,
    output: Path,
    *,
    accelerator: Accelerator | None = None,
    resume: bool = True,
    student: Start | None = None,
    stop: Callable[[], bool] | None = None,
    state_minutes: float | None = None,
) -> TrainResult:
    """Distil a student adapter.

    Args:
        config: everything that moves a number.
        denoiser: the teacher. Its network is frozen and carries the adapters, switched off, afterwards.
        data: latents and prompts at the scales of the schedule.
        output: folder for states, log and ``final``, the adapter.
        accelerator: device, precision and processes; when absent, one with the precision of ``config``, or else of
            the launcher.
        resume: go on from the newest state in ``output``. Otherwise its states and log are removed.
        student: adapter that the student starts from, of any layout: file, folder, name on the Hub, or tensors. It
            starts as the teacher when absent; a state to resume from counts for more.
        stop: asked after every iteration, on each process: once one of them says yes, a state is saved and all end.
            `swd.training.stopping.StopSignals` says yes after a signal.
        state_minutes: a state is saved also when the last one is so old; when absent, by ``config.checkpoint_every``
            alone.

    Raises:
        FileNotFoundError: there is no such adapter to start from.
        AdapterError: it cannot be read.
        ConfigError: the schedule is unknown or does not fit the network, nor does the student; the network has an
            adapter on it; the machine lacks the precision, or the launcher asks for something that training does not
            do.
        CacheError: the data lack a scale of the schedule.
        OutputFolderError: ``output`` cannot be written, is too small, or is held by another run; raised before
            training.
        StateError: ``output`` holds another run.
        NonFiniteLossError: a term became NaN or infinite.
        DivergedError: the student's loss grew beyond ``config.diverged_above`` times its start.
        LossScaleError: in fp16, update after update overflowed.
        TrainingStopped: ``stop`` said yes before the last iteration.
    """
    output = Path(output)
    if accelerator is None:
        config = launched(config)
        accelerator = new_accelerator(config, output)
    how: dict[str, Any] = {"student": student, "stop": stop, "state_minutes": state_minutes}
    trainer = Trainer(config, denoiser, data, output, accelerator, **how)
    with ExitStack() as held:
        with together(accelerator, "hold the output folder"):
            if accelerator.is_main_process:  # it alone writes
                held.enter_context(holding(output))
        return trainer.run(resume=resume)


def new_accelerator(config: DistillConfig, output: Path) -> Accelerator:
    """Device and processes of the launcher, precision and tracker of ``config``.

    Raises:
        ConfigError: the machine lacks the precision, or the tracker's package is not there.
    """
    try:
        made = Accelerator(
            mixed_precision=config.precision,
            log_with=config.log_with,
            project_dir=str(output),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:  # a precision that the GPU lacks
        raise ConfigError(str(error)) from error
    check_group(made.num_processes)
    # accelerate would train in float16 without a scaler, and only warn of a tracker that it cannot import
    if config.precision == "fp16" and made.device.type == "cpu":
        raise ConfigError(
            "mixed_precision fp16 needs an accelerator, and training runs on the CPU here: use bf16 or no"
        )
    if config.log_with and not made.log_with:
        extra = "; the extra `tracking` brings it" if config.log_with == "trackio" else ""
        raise ConfigError(
            f"log_with {config.log_with} needs the package {config.log_with}, which is not installed{extra}"
        )
    return made

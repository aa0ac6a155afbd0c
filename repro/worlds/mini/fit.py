"""One resumable training loop for every network of the mini pipeline.

Iteration ``i`` draws from a generator seeded with ``(seed, i)`` alone, so a run that was stopped and resumed takes
the same steps as one that was not.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

LOG_EVERY = 21  # no multiple of 2 or 5: in stages that cycle through sides every side is logged
Step = Callable[[int, torch.Generator], Mapping[str, Tensor]]


class StateError(ValueError):
    """A folder holds the state of another run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """AdamW with linear warm-up and cosine decay; gradients clipped by norm; exponential moving average."""

    iterations: int
    batch_size: int
    lr: float
    lr_final: float = 0.0
    warmup: int = 100
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    save_every: int = 500


def fit(name: str, model: nn.Module, step: Step, config: FitConfig, folder: Path, data: Iterable[Tensor]) -> nn.Module:
    """Train ``model`` in place and return its moving average.

    Args:
        name: shown by the progress bar and written to the log.
        model: the networks whose parameters are trained.
        step: gives named losses for an iteration and its generator; ``loss`` is the one that is minimised.
        config: length, optimiser and seed.
        folder: holds ``state.pt`` while training goes on and ``log.jsonl``; a state found there is resumed.
        data: a sample of the training data, from which a state knows its own.

    Returns:
        The averaged model, in evaluation mode.

    Raises:
        FloatingPointError: the loss is not finite; the last saved state stays.
        StateError: the folder holds the state of a run with another config, another start or other data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin = {"config": asdict(config), "start and data": _digest([*model.state_dict().values(), *data])}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    scheduler = LambdaLR(optimiser, lambda iteration: _lr_factor(iteration, config))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=False)
    parts = {"model": model, "average": average, "optimiser": optimiser, "scheduler": scheduler}
    start = _load_state(folder / "state.pt", parts, origin)
    began = time.perf_counter()
    _rewind(folder / "log.jsonl", start)
    with (folder / "log.jsonl").open("a") as log, tqdm(total=config.iterations, initial=start, desc=name) as bar:
        for iteration in range(start, config.iterations):
            terms = step(iteration, iteration_rng(config.seed, iteration))
            loss = terms["loss"]
            if not torch.isfinite(loss):
                raise FloatingPointError(f"{name}: the loss is {loss.item()} at iteration {iteration}")
            model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimiser.step()
            scheduler.step()
            average.update_parameters(model)
            bar.update()
            if iteration % LOG_EVERY == 0 or iteration + 1 == config.iterations:
                values = {key: round(value.item(), 6) for key, value in terms.items()}
                bar.set_postfix(values)
                row = {"name": name, "iteration": iteration, "seconds": round(time.perf_counter() - began, 2), **values}
                log.write(json.dumps(row) + "\n")
            if (iteration + 1) % config.save_every == 0 or iteration + 1 == config.iterations:
                log.flush()
                _save_state(folder / "state.pt", parts, origin, iteration + 1)
    return average.module.eval()


def iteration_rng(seed: int, iteration: int) -> torch.Generator:
    """A CPU generator for one iteration; distinct seeds give unrelated streams."""
    return torch.Generator().manual_seed((seed << 32) + iteration)


def _rewind(log: Path, start: int) -> None:
    """Drop rows past the state that training goes on from: they are about to be logged again."""
    if log.exists():
        rows = [line for line in log.read_text().splitlines() if json.loads(line)["iteration"] < start]
        log.write_text("".join(row + "\n" for row in rows))


def _lr_factor(iteration: int, config: FitConfig) -> float:
    if iteration < config.warmup:
        return (iteration + 1) / config.warmup
    progress = (iteration - config.warmup) / max(1, config.iterations - config.warmup)
    floor = config.lr_final / config.lr
    return floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * min(progress, 1.0)))))


def _digest(tensors: Iterable[Tensor]) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _save_state(path: Path, parts: Mapping[str, Any], origin: Mapping[str, Any], iteration: int) -> None:
    state = {key: part.state_dict() for key, part in parts.items()}
    torch.save({**state, **origin, "iteration": iteration}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def _load_state(path: Path, parts: Mapping[str, Any], origin: Mapping[str, Any]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for what, value in origin.items():
        if state[what] != value:
            raise StateError(f"{path} is of a run with another {what}: remove its folder to train again")
    for key, part in parts.items():
        part.load_state_dict(state[key])
    return state["iteration"]

"""The loop: the fake steps of an objective that has them and a student step, saved, logged and resumable."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import Tensor
from tqdm.auto import tqdm

from swd.backbones.base import Denoiser
from swd.backbones.compiled import compiled_blocks
from swd.backbones.fingerprint import weights_fingerprint
from swd.data.cache import LatentCache
from swd.errors import DivergedError, StateError, TrainingStopped
from swd.files import probe_writable
from swd.lora.bank import AdapterBank
from swd.training.checks import check_data, check_fit
from swd.training.config import DistillConfig
from swd.training.discriminator import Discriminator
from swd.training.draws import Drawn, Draws
from swd.training.launch import agreed, is_sharded
from swd.training.memory import fitting_checkpointing, state_bytes
from swd.training.objectives import new_step
from swd.training.optim import descents
from swd.training.prefetch import ReadAhead
from swd.training.sharding import check_whole, shard_base
from swd.training.start import Start, new_bank
from swd.training.state import LossLog, RunIdentity, StateStore, TrainState
from swd.training.step import DistillationStep
from swd.training.student import student_card, write_student
from swd.training.summary import peak_memory, start_line
from swd.training.together import Pace, newest_state, together
from swd.training.updates import Updates

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where a finished run left things.

    Attributes:
        adapter: folder with the student in PEFT layout, which diffusers' ``load_lora_weights`` reads.
        log: losses per iteration, JSON lines.
        seconds: training time over all sessions of the run.
        peak_bytes: most memory that each process held, of its GPU where there is one.
    """

    adapter: Path
    log: Path
    seconds: float
    peak_bytes: tuple[int, ...]


class Trainer:
    """One run: networks, optimisers and files. `swd.training.train` is the way in."""

    def __init__(
        self,
        config: DistillConfig,
        denoiser: Denoiser,
        data: LatentCache,
        output: Path,
        accelerator: Accelerator,
        *,
        student: Start | None = None,
        stop: Callable[[], bool] | None = None,
        state_minutes: float | None = None,
    ) -> None:
        config = agreed(config, accelerator)
        self.config, self.output, self.accelerator = config, output, accelerator
        self.pace, self.sharded = Pace(accelerator, stop, state_minutes), is_sharded(accelerator)
        self.schedule = config.schedule()
        check_data(config, self.schedule, denoiser, data)
        check_fit(config, denoiser, accelerator.num_processes, accelerator.device)
        check_whole(denoiser)
        teacher = weights_fingerprint({denoiser.backbone.component: denoiser.network})
        self.identity = RunIdentity(config=config.as_json(), data=data.index.content, teacher=teacher)
        self.bank = self._placed(denoiser, student)
        # with its index: a thread that reads ahead has a current GPU of its own
        self.device = next(denoiser.network.parameters()).device
        processes = accelerator.num_processes
        self.checkpointing = fitting_checkpointing(config, self.bank, data, processes=processes, device=self.device)
        if self.checkpointing in ("selective", "half", "full"):
            self.bank.enable_gradient_checkpointing(self.checkpointing)
        # selective checkpointing counts operators: a cast that was kept from the pass before would be one too few
        kept = AutocastKwargs(cache_enabled=self.checkpointing != "selective")
        self.autocast = partial(accelerator.autocast, kept)
        self.discriminator = self._new_discriminator() if config.uses_gan else None
        self.draws = Draws(
            config=config,
            schedule=self.schedule,
            data=data,
            device=self.device,
            processes=processes,
            process=accelerator.process_index,
        )
        self.steps = new_step(config, self.schedule, self.bank, self.discriminator, data.empty.to(self.device))
        self.descents = descents(config, self.bank, self.discriminator, accelerator)
        self.ema = {}
        if config.ema_decay is not None:
            self.ema = {name: value.clone() for name, value in self.bank.state_dict("student").items()}
        self.store, self.log = StateStore(output, config.keep_last), LossLog.in_folder(output)
        self.updates = Updates(accelerator, self.autocast, config.micro_batch_size, self.store.latest_folder)
        self.iteration, self.seconds = 0, 0.0
        self.first_totals: list[float] = []  # of the student's loss, one of every step

    def run(self, *, resume: bool) -> TrainResult:
        """Train to the end, or from where the newest state left off."""
        self._prepare_folder(resume)
        if resume:
            self._resume()
        if self.accelerator.is_main_process:
            _LOG.info(start_line(self.config, self.accelerator, self.checkpointing, sharded=self.sharded))
            self.log.rewind(self.iteration)
        self.accelerator.wait_for_everyone()
        if self.config.log_with:
            self.accelerator.init_trackers("swd", config=_flat(self.identity.config))
        self._loop()
        adapter = self._export()
        if self.config.log_with:
            self.accelerator.end_training()
        return TrainResult(adapter, self.log.path, self.seconds, peak_memory(self.accelerator))

    def _loop(self) -> None:
        config = self.config
        hidden = not (config.progress and self.accelerator.is_local_main_process)
        with (
            compiled_blocks(self.bank.denoiser.units, active=config.compile),
            ReadAhead(self.draws.read, config.iterations, active=config.prefetch) as read,
            tqdm(total=config.iterations, initial=self.iteration, desc=config.preset, disable=hidden) as bar,
        ):
            totals = [abs(line["total"]) for line in self.log.lines() if "total" in line]
            self.first_totals = totals[: self.schedule.num_steps]
            self.pace.restart()
            for iteration in range(self.iteration, config.iterations):
                start = time.perf_counter()
                losses = self._iterate(iteration, read(iteration))
                elapsed = time.perf_counter() - start
                self._report(iteration, losses, elapsed)
                self._check_diverged(iteration, losses["total"])
                self.iteration, self.seconds = iteration + 1, self.seconds + elapsed
                bar.set_postfix({name: f"{value:.3g}" for name, value in losses.items()}, refresh=False)
                bar.update()
                asked, due = self.pace.ask()
                stopping = asked and self.iteration < config.iterations
                due |= self.iteration % config.checkpoint_every == 0 or self.iteration == config.iterations
                if stopping or due:
                    self._save()
                if stopping:
                    raise TrainingStopped(self.iteration, self.store.folder_of(self.iteration))

    def _check_diverged(self, iteration: int, total: float) -> None:
        """Whether the student's loss has grown far above what it was at the start."""
        first = max(self.first_totals, default=math.inf)
        if abs(total) > self.config.diverged_above * first:
            raise DivergedError(iteration, total, first, self.store.latest_folder())
        if len(self.first_totals) < self.schedule.num_steps:
            self.first_totals.append(abs(total))

    def _iterate(self, iteration: int, drawn: Sequence[Drawn]) -> dict[str, float]:
        """Fake updates, then the student update; all of one schedule step, which cycles, unless steps are mixed."""
        for descent in self.descents.values():
            descent.set_rates(iteration)
        *for_fake, for_student = drawn
        samples = self._sample(for_fake)
        fake = [self._update_fake(*one) for one in zip(for_fake, samples, strict=True)]
        means = {name: math.fsum(losses[name] for losses in fake) / len(fake) for name in (fake[0] if fake else ())}
        return {**self._update_student(for_student), **means}

    def _sample(self, drawn: Sequence[Drawn]) -> Sequence[Tensor | None]:
        """The student's x0 for every fake update from one pass; None, for each to make its own, if not asked to."""
        config = self.config
        if not drawn or not config.share_student_pass or config.mixed_steps or config.micro_batch_size is not None:
            return [None] * len(drawn)
        assert isinstance(self.steps, DistillationStep)  # nothing else has a fake model to draw for
        pieces = [piece for (piece,) in drawn]
        batches, randoms = [piece.batch for piece in pieces], [piece.random for piece in pieces]
        with self.autocast():
            return self.steps.samples(batches, pieces[0].step, randoms)

    def _update_fake(self, drawn: Drawn, samples: Tensor | None) -> dict[str, float]:
        assert isinstance(self.steps, DistillationStep)
        given = () if samples is None else (samples,)
        with self.bank.trainable("fake"):
            losses = self.updates.make(self.descents["fake"], self.steps.fake, drawn, *given, norm="fake_grad_norm")
        del losses["total"]  # the log's is the student's
        return losses

    def _update_student(self, drawn: Drawn) -> dict[str, float]:
        with self.bank.trainable("student"):
            losses = self.updates.make(self.descents["student"], self.steps.student, drawn, norm="grad_norm")
        self.steps.updated()
        if self.config.ema_decay is not None:
            weights = self.bank.state_dict("student")
            for name, average in self.ema.items():
                average.lerp_(weights[name], 1 - self.config.ema_decay)
        return losses

    def _report(self, iteration: int, losses: Mapping[str, float], elapsed: float) -> None:
        step = {} if self.config.mixed_steps else {"step": iteration % self.schedule.num_steps}
        if self.accelerator.is_main_process:
            self.log.append({"iteration": iteration, **step, **losses, "seconds": round(elapsed, 4)})
        if self.config.log_with:
            self.accelerator.log(dict(losses), step=iteration)

    def _save(self) -> None:
        """Write a state; every process holds the same one, so the main process writes."""
        with together(self.accelerator, "save a state"):
            self._write_state()
        self.pace.restart()

    def _write_state(self) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = TrainState(
                iteration=self.iteration,
                position=self.draws.position(self.iteration),
                seconds=self.seconds,
                identity=self.identity,
                scaler=scaler.state_dict() if scaler is not None else {},
                tensors=self._tensors(),
            )
            self.store.save(state)

    def _tensors(self) -> dict[str, Tensor]:
        parts: dict[str, Mapping[str, Tensor]] = {name: self.bank.state_dict(name) for name in self.bank.names}
        parts["discriminator"] = self.discriminator.state_dict() if self.discriminator else {}
        parts["ema"] = self.ema
        parts |= {f"optimizer_{name}": descent.state_dict() for name, descent in self.descents.items()}
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def _resume(self) -> None:
        state = newest_state(self.store, self.accelerator)
        if state is None:
            return
        state.identity.check(self.config, self.identity, self.output)
        if state.iteration > self.config.iterations:
            raise StateError(f"{self.output} is at iteration {state.iteration}, past {self.config.iterations} as asked")
        if state.position != self.draws.position(state.iteration):
            raise StateError(f"{self.output} was written by a version that read the data in another order")
        for name in self.bank.names:
            self.bank.load_state_dict(name, state.part(name))
        if self.discriminator:
            self.discriminator.load_state_dict(state.part("discriminator"))
        self.ema = {name: value.to(self.accelerator.device).clone() for name, value in state.part("ema").items()}
        for name, descent in self.descents.items():
            descent.load_state_dict(state.part(f"optimizer_{name}"))
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        self.iteration, self.seconds = state.iteration, state.seconds

    def _export(self) -> Path:
        """Write the student, or its EMA, to ``final``."""
        folder = self.output / "final"
        with together(self.accelerator, "write the student"):
            if self.accelerator.is_main_process:
                if self.ema:
                    self.bank.load_state_dict("student", self.ema)
                card = student_card(self.bank.denoiser, self.schedule, self.draws.data.index.token_length)
                run = {"preset": self.config.preset, "iterations": self.iteration, "config": self.identity.config}
                write_student(self.bank, folder, card, run)
        return folder

    def _prepare_folder(self, resume: bool) -> None:
        with together(self.accelerator, f"write to {self.output}"):
            if self.accelerator.is_main_process:
                probe_writable(self.output, needed_bytes=state_bytes(self.bank) * (self.config.keep_last + 2))
                if not resume:
                    self.store.clear()
                    shutil.rmtree(self.output / "final", ignore_errors=True)

    def _placed(self, denoiser: Denoiser, student: Start | None) -> AdapterBank[Denoiser]:
        """The networks where they are trained; the frozen one by shares, if so asked."""
        device = self.accelerator.device
        bank = new_bank(self.config, denoiser.eval() if self.sharded else denoiser.to(device).eval(), student)
        if self.sharded:
            shard_base(bank, device)
            denoiser.to(device)  # what is not shared
        return bank

    def _new_discriminator(self) -> Discriminator:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return Discriminator(self.bank.denoiser.feature_dim(self.config.feature_block)).to(self.accelerator.device)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Trackers take numbers and strings only."""
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in config.items()}

"""One student update and one fake-model update, as losses: no optimiser, no logging, no clock (SwD v1, section 4).

Step i of N works at scale s_i. Data come as pairs of latents, of an image at s_i and at the scale before (s_1 twice):

    x_t = (1 - sigma_i) upscale(x0 at s_{i-1}) + sigma_i eps             what the student starts from
    x0_hat = student(x_t, sigma_i)                                       its sample, matched with x0 at s_i
    L = w_pdm L_PDM + w_dmd L_DMD + w_gan L_GAN                          student (`DistillationStep.student`)
    L_fake = mean (fake(x'_t, sigma') - x0_hat)^2 + w_D L_D              fake model and head (`DistillationStep.fake`)

x'_t is x0_hat renoised to a random level sigma' of the teacher's grid; each loss draws eps and level of its own. The
pairs are made in `swd.data.build` and read by `LatentCache.batch`. Random numbers are drawn by purpose, so that
switching a term off leaves every other number where it was.

No pass is run twice, and none further than it is read: what the fake model predicts and what the GAN reads of it come
from one pass, the student's samples for several fake updates from another (nothing of the student moves between them),
and passes for features alone end at the tapped block. `docs/decisions/lean-order.md` says what this saves.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swd.backbones.base import Condition, Denoiser
from swd.data.cache import Batch
from swd.flow import NoiseProcess
from swd.guidance import with_guidance
from swd.lora.bank import AdapterBank
from swd.losses import dmd_gradient, dmd_loss, gan_discriminator_loss, gan_student_loss
from swd.resize import upscale
from swd.rng import StepRandom
from swd.schedule import ScaleSchedule
from swd.training.config import DistillConfig
from swd.training.patch_loss import patch_loss
from swd.training.watching import FakePass, MatchingPass, PatchPass, StudentPass, Watch, unwatched


@dataclass(frozen=True, slots=True)
class StudentStepResult:
    """Losses of a student update.

    Attributes:
        total: weighted sum, carries the gradient of the student adapter alone.
        terms: each active term before its weight, by its name in the log: ``pdm``, ``dmd``, ``gan``, or
            ``consistency``.
        samples: the student's x0, (B, C, s, s), detached.
    """

    total: Tensor
    terms: dict[str, Tensor]
    samples: Tensor


@dataclass(frozen=True, slots=True)
class FakeStepResult:
    """Losses of a fake-model update.

    Attributes:
        total: weighted sum, carries the gradient of the fake adapter and the discriminator head alone.
        terms: ``fake`` (MSE on x0) and ``discriminator``, before their weights.
        samples: the student's x0 that the fake model learns, (B, C, s, s).
    """

    total: Tensor
    terms: dict[str, Tensor]
    samples: Tensor


@dataclass(frozen=True, slots=True)
class DistillationStep:
    """The two losses for fixed networks and options.

    Call ``student`` and go backward inside ``bank.trainable("student")``, ``fake`` inside ``bank.trainable("fake")``:
    autograd looks at ``requires_grad`` on the way forward and again on the way back.

    Attributes:
        config: weights, noise ranges, kernel.
        schedule: the student's scales and sigmas.
        bank: teacher, student and fake model on one base network.
        discriminator: GAN head; None without a GAN.
        empty: embedding of the empty prompt, (1, ...).
        watch: is shown what the losses are made of (`swd.training.watching`); no number depends on it.
    """

    config: DistillConfig
    schedule: ScaleSchedule
    bank: AdapterBank[Denoiser]
    discriminator: nn.Module | None
    empty: Condition
    watch: Watch = unwatched

    def student(self, batch: Batch, step: int, random: StepRandom) -> StudentStepResult:
        """L = w_pdm L_PDM + w_dmd L_DMD + w_gan L_GAN of student step ``step``, on a batch at its scale."""
        config = self.config
        with _frozen(self.discriminator):
            sigma = self.schedule.sigmas[step]
            upscaled, x_t = self._student_start(batch, random, sigma)
            x0 = self._student(x_t, sigma, batch.cond)
            self.watch(StudentPass(random, step, sigma, batch, upscaled, x_t, x0.detach()))
            terms = {}
            if config.weight_pdm:
                terms["pdm"] = self._pdm(x0, batch, random)
            if config.weight_dmd or config.weight_gan:
                terms |= self._matching(x0, batch.cond, random)
        weights = {"pdm": config.weight_pdm, "dmd": config.weight_dmd, "gan": config.weight_gan}
        return StudentStepResult(_weighted(terms, weights), terms, x0.detach())

    @torch.no_grad()
    def samples(self, batches: Sequence[Batch], step: int, randoms: Sequence[StepRandom]) -> list[Tensor]:
        """The student's x0 of several batches in one pass, for ``fake``; the student must not move between them."""
        sigma = self.schedule.sigmas[step]
        x_t = torch.cat([self._student_start(*drawn, sigma)[1] for drawn in zip(batches, randoms, strict=True)])
        cond = batches[0].cond.cat([batch.cond for batch in batches])
        return list(self._student(x_t, sigma, cond).split([len(batch) for batch in batches]))

    def fake(self, batch: Batch, step: int, random: StepRandom, samples: Tensor | None = None) -> FakeStepResult:
        """L_fake: the fake model learns the student's samples of the same step, and the head to tell them from data.

        The error is on x0, over all levels of the teacher's grid: the model tracks the student's distribution.

        Args:
            batch: data at the scale of the step.
            step: of the schedule.
            random: of this update.
            samples: what ``samples`` gave for this batch; made here when absent.
        """
        config, cond = self.config, batch.cond
        (x0,) = [samples] if samples is not None else self.samples([batch], step, [random])
        noise, sigma = self._draw(x0, "fake", (0, config.teacher_grid.num_steps), random)
        renoised = self._process.add_noise(x0, noise, sigma)
        if self.discriminator is None:
            with self.bank.use("fake"):
                prediction = self._denoiser(renoised, sigma, cond)
            terms = {"fake": self._regression(prediction, x0, sigma)}
        else:
            real = self._process.add_noise(batch.target, noise, sigma)  # same noise: only the content tells them apart
            prediction, logits = self._predict_and_judge(renoised, real, sigma, cond)
            terms = {"fake": self._regression(prediction, x0, sigma), "discriminator": gan_discriminator_loss(*logits)}
        self.watch(FakePass(random, sigma, x0, renoised, prediction.detach()))
        weights = {"fake": 1.0, "discriminator": config.weight_gan_discriminator}
        return FakeStepResult(_weighted(terms, weights), terms, x0)

    def updated(self) -> None:
        """Nothing moves with the student: the fake model has updates of its own."""

    @property
    def _denoiser(self) -> Denoiser:
        return self.bank.denoiser

    @property
    def _process(self) -> NoiseProcess:
        return self._denoiser.process

    def _student_start(self, batch: Batch, random: StepRandom, sigma: float) -> tuple[Tensor, Tensor]:
        """The upscaled x0 at s_{i-1}, and x_t = (1 - sigma_i) of it + sigma_i eps; at sigma_1 = 1 noise alone.

        So sampling starts; a variance-preserving process would leave 6.8 % of x0 in it: docs/decisions/sdxl.md.
        """
        side = batch.target.shape[-1]
        upscaled = upscale(batch.lower, (side, side), self.schedule.upscale)
        noise = random.normal("student", upscaled)
        return upscaled, noise if sigma == 1 else self._process.add_noise(upscaled, noise, sigma)

    def _regression(self, prediction: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
        """Mean squared error of x0, weighed by the process so that no noise level outweighs the others."""
        return F.mse_loss(self._process.weigh_x0(prediction, sigma), self._process.weigh_x0(x0, sigma))

    def _student(self, x_t: Tensor, sigma: float, cond: Condition) -> Tensor:
        with self.bank.use("student"):
            x0: Tensor = self._denoiser(
                x_t, torch.full((len(x_t),), sigma, device=x_t.device, dtype=torch.float32), cond
            )
            return x0

    def _draw(self, like: Tensor, purpose: str, indices: tuple[int, int], random: StepRandom) -> tuple[Tensor, Tensor]:
        """Noise (B, C, H, W) shaped as ``like``, and a random level of the teacher's grid per sample, sigma (B,)."""
        grid = torch.tensor(self.config.sigma_grid(), dtype=torch.float32)
        sigma = grid[random.indices(f"{purpose} level", *indices)].to(like.device)
        return random.normal(f"{purpose} noise", like), sigma

    def _matching(self, x0: Tensor, cond: Condition, random: StepRandom) -> dict[str, Tensor]:
        """L_DMD and L_GAN, at one renoised x0_hat; its level is drawn from ``dmd_indices``."""
        config = self.config
        noise, sigma = self._draw(x0, "dmd", config.teacher_grid.dmd_indices, random)
        renoised = self._process.add_noise(x0, noise, sigma)
        fake_x0, logits = self._fake_view(renoised, sigma, cond)
        teacher_x0 = None if fake_x0 is None else self._teacher_x0(renoised, sigma, cond)
        self.watch(MatchingPass(random, sigma, renoised.detach(), teacher_x0, fake_x0))
        terms = {}
        if fake_x0 is not None and teacher_x0 is not None:
            terms["dmd"] = dmd_loss(x0, dmd_gradient(x0, teacher_x0, fake_x0))
        if logits is not None:
            terms["gan"] = gan_student_loss(logits)
        return terms

    @torch.no_grad()
    def _teacher_x0(self, x_t: Tensor, sigma: Tensor, cond: Condition) -> Tensor:
        """Under guidance: one doubled batch, or an input of the network where its family has it so."""
        with self.bank.use(None):
            return with_guidance(self._denoiser, self.empty, self.config.guidance_scale)(x_t, sigma, cond)

    def _fake_view(self, x_t: Tensor, sigma: Tensor, cond: Condition) -> tuple[Tensor | None, Tensor | None]:
        """The fake model's x0 for DMD, without a graph, and logits for the GAN; None where a loss is off."""
        config = self.config
        with self.bank.use("fake"):
            if config.weight_dmd and self.discriminator is not None and config.share_fake_pass:
                x0, features = self._denoiser.with_features(x_t, sigma, cond, [config.feature_block], detach=True)
                return x0, self._logits(features[0])
            with torch.no_grad():
                alone = self._denoiser(x_t, sigma, cond) if config.weight_dmd else None
            return alone, None if self.discriminator is None else self._logits(self._features(x_t, sigma, cond))

    def _pdm(self, x0: Tensor, batch: Batch, random: StepRandom) -> Tensor:
        """L_PDM, or the naive loss, between F(x0_hat) and F(x0), both under the same noise, or both clean.

        The target's pass is apart from the student's and records no graph: cheaper than one pass over both, whose
        backward would run through the target too.
        """
        config = self.config
        noise, sigma = self._draw(x0, "pdm", config.teacher_grid.pdm_indices, random)
        fake, real = (x0, batch.target)
        if config.pdm_noise:
            fake, real = (self._process.add_noise(latent, noise, sigma) for latent in (x0, batch.target))
        else:
            sigma = torch.zeros_like(sigma)
        self.watch(PatchPass(random, sigma, fake.detach(), real))
        with self.bank.use(None if config.pdm_features == "teacher" else "fake"):
            fake_features = self._features(fake, sigma, batch.cond)
            with torch.no_grad():
                real_features = self._features(real, sigma, batch.cond)
        return patch_loss(fake_features, real_features, config).mean()

    def _predict_and_judge(
        self, fake: Tensor, real: Tensor, sigma: Tensor, cond: Condition
    ) -> tuple[Tensor, list[Tensor]]:
        """The fake model's x0 of student samples, and the logits of samples and data."""
        with self.bank.use("fake"):
            if self.config.share_fake_pass:
                blocks = [self.config.feature_block]
                x0, (features,) = self._denoiser.with_features(fake, sigma, cond, blocks)
                return x0, [self._logits(features), self._logits(self._features(real, sigma, cond))]
            x0, both = self._denoiser(fake, sigma, cond), cond.cat([cond, cond])
            features = self._features(torch.cat([fake, real]), sigma.repeat(2), both)
            return x0, list(self._logits(features).chunk(2))

    def _logits(self, features: Tensor) -> Tensor:
        """Discriminator on the fake model's features, (B,)."""
        assert self.discriminator is not None
        logits: Tensor = self.discriminator(features)
        return logits

    def _features(self, x_t: Tensor, sigma: Tensor, cond: Condition) -> Tensor:
        return self._denoiser.features(x_t, sigma, cond, [self.config.feature_block])[0]


def _weighted(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


@contextmanager
def _frozen(module: nn.Module | None) -> Iterator[None]:
    """No gradients for the parameters of ``module`` inside."""
    parameters = list(module.parameters()) if module is not None else []
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)

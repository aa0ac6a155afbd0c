"""One training iteration with its passes in the published order: the baseline that the lean order is measured against.

Six fresh batches go through text encoders and VAE; every fake update samples the student by itself; score, GAN
features, features of samples and data, and the teacher with and without text are passes of their own; teacher, student
and fake model are three networks; every block is computed again on the way back. Losses, random numbers and gradients
are those of `swd.training`.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swd.backbones import backbone_of
from swd.backbones.sd3.condition import TextCondition
from swd.backbones.sd3.denoiser import SD3Denoiser
from swd.data.cache import Batch
from swd.flow import FlowMatching, guide
from swd.lora.bank import AdapterBank
from swd.losses import dmd_gradient, dmd_loss, gan_discriminator_loss, gan_student_loss, pdm_linear
from swd.resize import downscale_area, upscale_bicubic
from swd.rng import StepRandom
from swd.training import DistillConfig
from swd.training.discriminator import Discriminator

Draw = tuple[Tensor, list[str]]  # images (B, 3, H, W) in [-1, 1], and their captions


class PlainStep:
    """Three networks, two optimisers, and an iteration.

    Args:
        config: with the GAN on, and PDM with the linear kernel on the teacher's features.
        pipeline: has text encoders, VAE and the teacher, which is copied three times.
        autocast: makes the context of the losses.
    """

    def __init__(self, config: DistillConfig, pipeline: Any, autocast: Callable[[], Any] = nullcontext) -> None:
        self.autocast = autocast
        self.config, self.pipeline, self.schedule = config, pipeline, config.schedule()
        self.process = FlowMatching()
        self.teacher, self.student, self.fake = (self._copy(*names) for names in ((), ("student",), ("fake",)))
        self.head = Discriminator(self.teacher.denoiser.inner_dim).to(pipeline.transformer.device)
        self.empty = self.encode_text([""])
        options = {"betas": config.betas, "weight_decay": config.weight_decay, "fused": True}
        trained = [*self.fake.parameters("fake"), *self.head.parameters()]
        self.student_optimizer = torch.optim.AdamW(self.student.parameters("student"), lr=config.lr, **options)
        self.fake_optimizer = torch.optim.AdamW(trained, lr=config.lr, **options)

    def _copy(self, *names: str) -> AdapterBank:
        config, network = self.config, SD3Denoiser(copy.deepcopy(self.pipeline.transformer))
        bank = AdapterBank(network, rank=config.rank, alpha=config.alpha, names=names, seed=config.seed)
        bank.enable_gradient_checkpointing()
        return bank

    def adopt(self, bank: AdapterBank, head: Discriminator) -> None:
        """Start from the adapters and the head of the lean order."""
        self.student.load_state_dict("student", bank.state_dict("student"))
        self.fake.load_state_dict("fake", bank.state_dict("fake"))
        self.head.load_state_dict(head.state_dict())

    def iterate(self, iteration: int, step: int, draws: Sequence[Any]) -> dict[str, float]:
        """Fake updates, then the student update; ``draws`` holds a batch for each. Returns the mean of every loss."""
        found: list[dict[str, Tensor]] = []
        samples = range(self.config.batch_size)
        for number, draw in enumerate(draws[:-1]):
            random = StepRandom(self.config.seed, iteration, f"fake {number}", samples)
            with self.fake.trainable("fake"):
                with self.autocast():
                    terms = self.fake_losses(self.encode(draw, step), step, random)
                self._descend(self.fake_optimizer, terms["fake_total"])
            found.append(terms)
        random = StepRandom(self.config.seed, iteration, "student", samples)
        with self.student.trainable("student"):
            with self.autocast():
                terms = self.student_losses(self.encode(draws[-1], step), step, random)
            self._descend(self.student_optimizer, terms["total"])
        means = {name: fmean(float(terms[name].detach()) for terms in found) for name in found[0]}
        return means | {name: float(value.detach()) for name, value in terms.items()}

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self.student_optimizer.zero_grad()
        self.fake_optimizer.zero_grad()
        loss.backward()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
        optimizer.step()

    @torch.no_grad()
    def encode(self, draw: Draw, step: int) -> Batch:
        """Images downscaled twice and through the VAE, captions through the text encoders."""
        images, captions = draw
        side, below = self.schedule.scales[step], self.schedule.scales[max(step - 1, 0)]
        large = self._downscale(images, side)
        target, lower = self._latents(large), self._latents(self._downscale(large, below))
        return Batch(target, lower, self.encode_text(captions))

    @torch.no_grad()
    def encode_text(self, captions: list[str]) -> TextCondition:
        """Through all text encoders."""
        pipe = self.pipeline
        length = backbone_of(pipe).token_length(pipe)
        embeds, _, pooled, _ = pipe.encode_prompt(
            captions, None, None, pipe.vae.device, do_classifier_free_guidance=False, max_sequence_length=length
        )
        return TextCondition(embeds, pooled)

    def _downscale(self, images: Tensor, side: int) -> Tensor:
        pixels = side * self.pipeline.vae_scale_factor
        return downscale_area(images, (pixels, pixels))

    def _latents(self, images: Tensor) -> Tensor:
        vae = self.pipeline.vae
        return (vae.encode(images).latent_dist.mode() - (vae.config.shift_factor or 0)) * vae.config.scaling_factor

    def fake_losses(self, batch: Batch, step: int, random: StepRandom) -> dict[str, Tensor]:
        """MSE of the fake model, loss of the discriminator, and their weighted sum."""
        with torch.no_grad():
            x0 = self._sample(batch, step, random)
        noise, sigma = self._draw("fake", x0, (0, self.config.teacher_grid.num_steps), random)
        renoised, real = (self.process.add_noise(latent, noise, sigma) for latent in (x0, batch.target))
        mse = F.mse_loss(self._x0(self.fake, renoised, sigma, batch.cond), x0)
        judged = gan_discriminator_loss(*(self._logits(x_t, sigma, batch.cond) for x_t in (renoised, real)))
        total = mse + self.config.weight_gan_discriminator * judged
        return {"fake": mse, "discriminator": judged, "fake_total": total}

    def student_losses(self, batch: Batch, step: int, random: StepRandom) -> dict[str, Tensor]:
        """PDM, DMD, GAN, and their weighted sum."""
        config, cond = self.config, batch.cond
        x0 = self._sample(batch, step, random)
        noise, sigma = self._draw("pdm", x0, config.teacher_grid.pdm_indices, random)
        fake, real = (self.process.add_noise(latent, noise, sigma) for latent in (x0, batch.target))
        features = (self._features(self.teacher, x_t, sigma, cond) for x_t in (fake, real))
        pdm = pdm_linear(*features, huber_c=config.pdm_huber_c).mean()
        noise, sigma = self._draw("dmd", x0, config.teacher_grid.dmd_indices, random)
        renoised = self.process.add_noise(x0, noise, sigma)
        with torch.no_grad():
            empty = self.empty.expand_to(len(x0))
            scores = (self._x0(self.teacher, renoised, sigma, text) for text in (cond, empty))
            real_x0, fake_x0 = guide(*scores, config.guidance_scale), self._x0(self.fake, renoised, sigma, cond)
        dmd = dmd_loss(x0, dmd_gradient(x0, real_x0, fake_x0))
        gan = gan_student_loss(self._logits(renoised, sigma, cond))
        total = config.weight_pdm * pdm + config.weight_dmd * dmd + config.weight_gan * gan
        return {"pdm": pdm, "dmd": dmd, "gan": gan, "total": total}

    def _sample(self, batch: Batch, step: int, random: StepRandom) -> Tensor:
        side, level = batch.target.shape[-1], self.schedule.sigmas[step]
        upscaled = upscale_bicubic(batch.lower, (side, side))
        x_t = self.process.add_noise(upscaled, random.normal("student", upscaled), level)
        return self._x0(self.student, x_t, torch.full((len(x_t),), level, device=x_t.device), batch.cond)

    def _draw(self, purpose: str, like: Tensor, indices: tuple[int, int], random: StepRandom) -> tuple[Tensor, Tensor]:
        sigma = torch.tensor(self.config.sigma_grid())[random.indices(f"{purpose} level", *indices)]
        return random.normal(f"{purpose} noise", like), sigma.to(like.device)

    def _x0(self, bank: AdapterBank, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        with bank.use(next(iter(bank.names), None)):
            return bank.denoiser(x_t, sigma, cond)

    def _features(self, bank: AdapterBank, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        with bank.use(next(iter(bank.names), None)):
            return bank.denoiser.features(x_t, sigma, cond, [self.config.feature_block])[0]

    def _logits(self, x_t: Tensor, sigma: Tensor, cond: TextCondition) -> Tensor:
        logits: Tensor = self.head(self._features(self.fake, x_t, sigma, cond))
        return logits

"""What a trained student says of itself."""

from pathlib import PurePath

from swd.backbones.base import Denoiser
from swd.lora.card import StudentCard, model_name
from swd.schedule import ScaleSchedule


def student_card(denoiser: Denoiser, schedule: ScaleSchedule, token_length: int | None = None) -> StudentCard:
    """What a student of this teacher will say of itself; ``token_length`` is that of the texts it was trained on."""
    folder = PurePath(denoiser.network.config.get("_name_or_path") or "")
    location = folder.parent if folder.name == denoiser.backbone.component else folder
    return StudentCard(
        base_model=model_name(str(location)),
        backbone=denoiser.backbone.name,
        scales=schedule.scales,
        sigmas=schedule.sigmas,
        process=schedule.process,
        upscale=None if schedule.upscale == "bicubic" else schedule.upscale,
        token_length=None if denoiser.backbone.t5 is None else token_length,
        guidance_scale=denoiser.backbone.student_guidance,
    )

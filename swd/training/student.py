"""What a trained student says of itself."""

from pathlib import PurePath

from swd.backbones.base import Denoiser
from swd.lora.card import StudentCard, model_name
from swd.schedule import ScaleSchedule


def student_card(denoiser: Denoiser, schedule: ScaleSchedule) -> StudentCard:
    """What a student of this teacher will say of itself."""
    folder = PurePath(denoiser.network.config.get("_name_or_path") or "")
    location = folder.parent if folder.name == denoiser.backbone.component else folder
    return StudentCard(
        base_model=model_name(str(location)),
        backbone=denoiser.backbone.name,
        scales=schedule.scales,
        sigmas=schedule.sigmas,
        process=schedule.process,
        guidance_scale=denoiser.backbone.student_guidance,
    )

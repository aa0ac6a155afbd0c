"""What a trained student says of itself, and how it is written."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from swd.backbones.base import Denoiser
from swd.files import replacing_folder, write_json
from swd.lora.bank import AdapterBank
from swd.lora.card import StudentCard, model_name
from swd.lora.files import save_adapter
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


def write_student(bank: AdapterBank[Denoiser], folder: Path, card: StudentCard, run: Mapping[str, Any]) -> None:
    """Replace a folder with the student's adapter and what it says of itself, which the adapter's file holds too.

    Args:
        bank: whose student.
        folder: that is written whole or not at all.
        card: of the student.
        run: preset, iterations and config of its training.

    Raises:
        OutputFolderError: it cannot be written.
    """
    facts = {**card.as_json(), **run}
    with replacing_folder(folder) as temporary:
        save_adapter(bank, "student", temporary, facts)
        write_json(temporary / "training.json", facts)

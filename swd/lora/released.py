"""The adapters that the paper's authors released: what their files do not say of themselves.

Each is a PEFT folder on the Hub. Steps are those of the grid that they were trained on, 28 steps with shift 3; the
snippet of `swd-large-4-steps` prints the levels of FLUX's grid in their place (0.8956 for 0.8959, 0.7363 for 0.7371,
0.6007 for 0.6022). The first weights of `swd-medium-4-steps` (2025) had the steps of the preset ``sd35-4-2025``.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from swd.lora.card import StudentCard, model_name
from swd.schedule import preset

OWNER = "yresearch"
T5_TOKENS = 512  # of the released training and of the published snippets


def _card(steps: str, base_model: str, backbone: str, *, tokens: int | None, guidance: float = 1.0) -> StudentCard:
    schedule = preset(steps)
    return StudentCard(
        base_model=base_model,
        backbone=backbone,
        scales=schedule.scales,
        sigmas=schedule.sigmas,
        process=schedule.process,
        token_length=tokens,
        guidance_scale=guidance,
    )


_MEDIUM, _LARGE = (f"stabilityai/stable-diffusion-3.5-{size}" for size in ("medium", "large"))
RELEASED: Mapping[str, StudentCard] = MappingProxyType(
    {
        f"{OWNER}/swd-medium-6-steps": _card("sd35-6", _MEDIUM, "sd3", tokens=T5_TOKENS),
        f"{OWNER}/swd-medium-4-steps": _card("sd35-4", _MEDIUM, "sd3", tokens=T5_TOKENS),
        f"{OWNER}/swd-large-6-steps": _card("sd35-6", _LARGE, "sd3", tokens=T5_TOKENS),
        f"{OWNER}/swd-large-4-steps": _card("sd35-4", _LARGE, "sd3", tokens=T5_TOKENS),
        f"{OWNER}/swd_flux": _card("flux-4", "black-forest-labs/FLUX.1-dev", "flux", tokens=T5_TOKENS, guidance=4.5),
        f"{OWNER}/swd-sdxl": _card("sdxl-4", "stabilityai/stable-diffusion-xl-base-1.0", "sdxl", tokens=None),
    }
)


def released_card(source: Path | str) -> StudentCard | None:
    """Card of a released adapter, by its name on the Hub or a local folder that is called as it is, or cached from it.

    Args:
        source: what the user names; None comes back for any other adapter.
    """
    names = {str(source), model_name(str(source)), f"{OWNER}/{Path(source).name}"}
    return next((card for name, card in RELEASED.items() if name in names), None)

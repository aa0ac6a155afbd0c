"""Metrics of other environments: from what a profile declares to the command that is run on the images of a row.

| in the settings of a declaration | whose program | what has to be there |
|---|---|---|
| `command`: words with {requests} and {results} | the user's | its first word |
| `command`: None | none: results are made elsewhere | - |
| `backend`: "official", of `image_reward` | `repro/metrics/runners/image_reward_official.py` | `nox -s imagereward` |
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from repro.harness.files import ROOT
from repro.harness.needs import Need
from repro.harness.profile import Scorer
from repro.metrics import external
from repro.metrics.base import WeightsError
from repro.metrics.image_reward import TOKENIZER_FILES
from repro.metrics.image_reward_checkpoint import CHECKPOINT, MED_CONFIG
from repro.worlds import scorers

OFFICIAL_FOLDER, GET_OFFICIAL = ".venv-imagereward", "nox -s imagereward"


def official_python(root: Path = ROOT) -> Path:
    """The interpreter that `nox -s imagereward` makes."""
    return root / OFFICIAL_FOLDER / "bin" / "python"


def build(scorer: Scorer, folder: Path, device: torch.device) -> external.Scorer:
    """The external scorer that a profile declares.

    Args:
        scorer: whose settings name a command, or the official backend.
        folder: what paths of weights are relative to: the data folder.
        device: where the official package runs.

    Raises:
        WeightsError: its program or its weights are not here; says what gets them.
    """
    check(scorer)
    if "command" in scorer.settings:
        words = scorer.settings["command"]
        return external.Scorer(key=scorer.name, command=None if words is None else tuple(words))
    found = scorers.sources(scorer)
    tokenizer = scorers.resolved(found["tokenizer"], folder, TOKENIZER_FILES) if "tokenizer" in found else None
    return external.official_image_reward(
        str(official_python()),
        scorers.resolved(found["weights"], folder, (CHECKPOINT, MED_CONFIG)),
        tokenizer=tokenizer,
        device=device.type,
    )


def check(scorer: Scorer) -> None:
    """Look for the program.

    Raises:
        WeightsError: it is not here; says what gets it.
    """
    for need in program(scorer):
        if need.missing:
            raise WeightsError(f"{need.why} runs {need.name}, which is not here. Get it: {need.command}")


def program(scorer: Scorer) -> Iterator[Need]:
    """What is run, if anything is."""
    why = f"metric {scorer.name}"
    if "command" not in scorer.settings:
        missing = not official_python().is_file()
        yield Need(name=f"{OFFICIAL_FOLDER} (image-reward 1.5)", why=why, command=GET_OFFICIAL, missing=missing)
    elif scorer.settings["command"] is not None:
        name = scorer.settings["command"][0]
        advice = f"# install {name}, or name another program: --external {scorer.name}=..."
        yield Need(name=name, why=why, command=advice, missing=shutil.which(name) is None)

"""The torch device that the command line asks for."""

import os

import torch

from repro.harness.experiment import ExperimentError

LOCAL_RANK = "LOCAL_RANK"  # of the process on its machine, from accelerate and torchrun


def torch_device(name: str) -> torch.device:
    """A device by name; "auto" is CUDA where there is one, else the CPU. A card becomes the current one.

    Under `accelerate launch`, "auto" and "cuda" are the card of the process's local rank.

    Raises:
        ExperimentError: CUDA, or a card of that number, is asked for and not there, or the name is no device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and LOCAL_RANK in os.environ:
        name = f"cuda:{os.environ[LOCAL_RANK]}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ExperimentError(f"--device {name} was asked for, but torch sees no CUDA device")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's ways to say no
        raise ExperimentError(
            f"--device {name} was asked for, but torch finds no such device here that holds numbers; expected auto, "
            "cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ExperimentError(f"--device {name} was asked for, but there are {torch.cuda.device_count()} CUDA devices")
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # accelerate takes the current one
    return device

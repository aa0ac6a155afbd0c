"""FSDP2 of the frozen network: the processes of a machine keep a share of every block, and gather it while it runs.

Adapters, discriminator, their optimisers and all that lies between the blocks stay whole in every process, and
gradients are averaged as they are without: nothing that is shared has a gradient, so nothing is scattered, nothing of
it is saved, and a run may go on with another number of processes, sharded or not. Machines keep a copy each: weights
are gathered between the GPUs of one, never over the network.
"""

import os
import warnings
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from swd.backbones.base import Denoiser
from swd.errors import ConfigError
from swd.lora.bank import AdapterBank

GATHERED = 2  # blocks that are whole at a time: the one that runs, and the one before it while it is let go of


def check_whole(denoiser: Denoiser) -> None:
    """Make sure that no run before has shared the network's weights among processes.

    Raises:
        ConfigError: one has.
    """
    if any(isinstance(unit, FSDPModule) for unit in denoiser.units):
        raise ConfigError("the weights of this network are shared by processes since an earlier run: load it again")


def shard_base(bank: AdapterBank[Denoiser], device: torch.device) -> None:
    """Share every block's frozen weights among the processes of this machine, block by block.

    A network that lies in the machine's memory goes to the GPUs share by share: none of them ever holds all of it.

    Args:
        bank: network and adapters; these are left alone, and where they are.
        device: where training runs.
    """
    # nothing here works in place on what a block returns, so that no hook of its is lost
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module \(.*\) returned a view tensor")
    adapters = {parameter for name in bank.names for parameter in bank.parameters(name)}
    mesh = _processes_of_this_machine(device)
    for unit in bank.denoiser.units:
        fully_shard(unit, mesh=mesh, reshard_after_forward=True, ignored_params=adapters & set(unit.parameters()))


def gathered_bytes(denoiser: Denoiser) -> int:
    """What running blocks hold of the other processes' shares; 0 of a network that is whole."""
    shared = [unit for unit in denoiser.units if isinstance(unit, FSDPModule)]
    sizes = [sum(weight.nbytes for name, weight in unit.named_parameters() if ".lora_" not in name) for unit in shared]
    return GATHERED * max(sizes, default=0)


def _processes_of_this_machine(device: torch.device) -> DeviceMesh:
    world = torch.distributed.get_world_size()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    here = here if world % here == 0 else world
    names = ("machines", "processes")
    mesh: Any = init_device_mesh(device.type, (world // here, here), mesh_dim_names=names)
    found: DeviceMesh = mesh["processes"]
    return found

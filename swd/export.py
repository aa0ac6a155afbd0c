"""Write a student for other programs: ``python -m swd.export ADAPTER --format comfy --output DIR``.

``ADAPTER`` is a file, a folder, or a name on the Hub, in any layout. PEFT and plain diffusers load theirs, ComfyUI and
the tools around kohya's trainer theirs. ``--comfy-workflow`` adds a workflow of stock ComfyUI nodes that draws with it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from swd.command_words import check_words, with_usable_paths
from swd.errors import USER_ERRORS, AdapterError, ConfigError
from swd.interrupts import ended_by_ctrl_c

if TYPE_CHECKING:
    from swd.backbones.base import Backbone
    from swd.lora.card import StudentCard
    from swd.lora.layouts.adapter import Adapter
    from swd.lora.layouts.contents import Contents

WORKFLOW_FILE = "workflow_api.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCommand:
    """Write an adapter in another layout."""

    adapter: tyro.conf.Positional[str]
    """File, folder, or name on the Hub; PEFT, diffusers, kohya or ComfyUI."""
    output: Path
    """Folder for the files."""
    format: Literal["peft", "diffusers", "kohya", "comfy"] = "diffusers"
    """Layout to write."""
    comfy_workflow: bool = False
    """Write a ComfyUI workflow too (API format); the adapter goes into ComfyUI's models/loras."""
    prompt: str = "a photo of a cat reading a newspaper"
    """Prompt of the workflow."""
    backbone: str | None = None
    """Family of the network, where neither its header nor its names tell it."""
    weight_name: str | None = None
    """File name, where there are several."""
    revision: str | None = None
    """Of the repository on the Hub."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: parse and write; user errors end with one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with ended_by_ctrl_c("interrupted: files that were named above are whole"):
        try:
            check_words(arguments)
            command = with_usable_paths(tyro.cli(ExportCommand, args=arguments, prog="python -m swd.export"))
            for path in run(command):
                print(path)
        except (*USER_ERRORS, FileNotFoundError) as error:
            raise SystemExit(f"error: {error}") from None


def run(command: ExportCommand) -> list[Path]:
    """Write what a command asks for, and say where; the slow imports wait until here.

    Raises:
        FileNotFoundError: there is no adapter.
        AdapterError: it cannot be read, or not be written in this layout.
        ConfigError: its family is not known.
    """
    from swd.files import write_json, writing
    from swd.lora.files import write_adapter
    from swd.lora.source import Location, read_contents
    from swd.lora.workflow import workflow

    if command.comfy_workflow and command.format not in ("comfy", "kohya"):
        raise ConfigError("comfy_workflow needs a layout whose scale ComfyUI reads: format comfy or kohya")
    hub = {} if command.revision is None else {"revision": command.revision}
    contents = read_contents(command.adapter, Location(weight_name=command.weight_name, hub=hub))
    card = card_of(command.adapter, contents)
    backbone, adapter = family_of(contents, command.backbone or (card.backbone if card else None))
    with writing(command.output):
        paths = [
            write_adapter(
                adapter, command.format, command.output, component=backbone.component, names=backbone.layer_names
            )
        ]
        if command.comfy_workflow:
            if card is None or backbone.comfy is None:
                raise AdapterError(f"{command.adapter} does not say its schedule, so that no workflow follows from it")
            if card.guidance_scale is None:
                card = replace(card, guidance_scale=backbone.student_guidance)
            nodes = workflow(card, backbone.comfy, lora_file=paths[0].name, prompt=command.prompt)
            paths.append(command.output / WORKFLOW_FILE)
            write_json(paths[-1], nodes)
    return paths


def card_of(source: str, contents: "Contents") -> "StudentCard | None":
    """What an adapter says of itself, or what is known of a released one."""
    from swd.lora.card import StudentCard
    from swd.lora.layouts.contents import OUR_HEADER
    from swd.lora.released import released_card

    return StudentCard.from_header(contents.json(OUR_HEADER)) or released_card(source)


def family_of(contents: "Contents", name: str | None) -> "tuple[Backbone, Adapter]":
    """The family of an adapter, as named or else the only one that has all its layers, and the adapter.

    Raises:
        AdapterError: no family has these layers.
        ConfigError: several have.
        PipelineError: there is none of that name.
    """
    from swd.backbones import FAMILIES, backbone_named
    from swd.lora import layouts

    if name is not None:
        backbone = backbone_named(name)
        return backbone, layouts.read(contents, backbone.layer_names)
    found, reason = [], f"{contents.source} has the layers of no known family of networks"
    for family in map(backbone_named, FAMILIES):
        try:
            adapter = layouts.read(contents, family.layer_names)
        except AdapterError as error:
            reason = str(error)
            continue
        if family.layer_names and all(family.layer_names.published(layer) for layer in adapter.layers):
            found.append((family, adapter))
    if not found:
        raise AdapterError(reason)
    if len(found) > 1:
        known = ", ".join(family.name for family, _ in found)
        raise ConfigError(f"{contents.source} may be of {known}: say which with --backbone")
    return found[0]


if __name__ == "__main__":
    main()

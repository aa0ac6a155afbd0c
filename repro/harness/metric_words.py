"""What a metric says of itself (``Run.metrics``), in words: formula, network and recipe, real images."""

from collections.abc import Mapping, Sequence
from typing import Any

DIGITS = 8  # of a SHA-256; all of it is in the records
SETTINGS = ("subsets", "size", "bandwidth", "scale", "backend")  # that say more of a formula


def formula(inputs: Mapping[str, Any]) -> str:
    """A formula with its settings."""
    settings = {**inputs.get("rules", {}), **{name: inputs[name] for name in SETTINGS if name in inputs}}
    named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    return f"{inputs.get('formula', '')}{f' ({named})' if named else ''}".strip()


def features_of(features: Mapping[str, Any]) -> str:
    """The network, and how an image reaches it."""
    if not features:
        return ""
    recipe = features.get("recipe", "")
    steps = recipe if isinstance(recipe, str) else f"recipe `{recipe['name']}`: {_recipe(recipe)}"
    own = "" if features.get("published_weights", True) else ", **not** with the published weights"
    return f"Features: {features['network']}{own}; {steps}"


def _recipe(recipe: Mapping[str, Any]) -> str:
    """The steps of a recipe of FID, in order."""
    steps = [
        f"shorter side to {recipe['shrink']} (bicubic)" if recipe["shrink"] else "",
        f"to {recipe['crop']} (Lanczos), central square" if recipe["crop"] else "",
        f"to 299 x 299 ({recipe['resize']})",
        f"values {recipe['scaling']}",
    ]
    return ", ".join(filter(None, steps))


def real_images(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What a metric compares with, set by set."""
    sets = {label: _reference(inputs) for label, inputs in found.items()}
    parts = [f"{label} {_counted(reference)}" for label, reference in sets.items() if reference]
    return f"Real images: {'; '.join(parts)}" if parts else ""


def _reference(inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of the first distance that has one."""
    distances: Sequence[Mapping[str, Any]] = list(inputs.get("distances", {}).values())
    return next((distance["reference"] for distance in distances if "reference" in distance), None)


def _counted(reference: Mapping[str, Any]) -> str:
    count = "a number that their file does not say" if reference["images"] is None else f"{reference['images']:,}"
    known = "" if reference["recipe_known"] else ", made in a way that their file does not say"
    return f"{count} ({reference['sha256'][:DIGITS]}{known})"

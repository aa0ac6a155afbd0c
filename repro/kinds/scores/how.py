"""How the numbers of published models came about, for their page: what was sampled, and how each metric measures.

All of it is read from the newest run: its config names models, weights and their hashes, and its ``metrics`` hold what
every metric says of itself. A run without them says less.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repro.harness.cells import DASH, estimate, markdown, number
from repro.harness.experiment import Row
from repro.harness.schema import Run
from repro.kinds.scores import keys
from repro.kinds.scores.result import ScoresResult

HEADS = ("Setup", "Weights", "Steps", "Guidance", "Side, px", "dtype")
DIGITS = 8  # of a SHA-256; all of it is in the records
FILES = 3  # whose hashes are named
SETTINGS = ("subsets", "size", "bandwidth", "scale", "backend")  # that say more of a formula
RULE = """\
In parentheses the first digits of SHA-256 hashes; the records hold all of them. A revision stands where one was pinned.
The captions and the seeds of the images are the same for every row that was sampled here."""


def how(result: ScoresResult) -> list[str]:
    """Heading, table of what was sampled, and a list of metrics; nothing where models and metrics ship."""
    run = max(result.records.runs, key=lambda run: run.start, default=None)
    scorers = run.config.get("profile", {}).get("scorers", ()) if run else ()
    if run is None or not scorers:
        return []
    rows = [line for row in result.rows for line in _sampled(run, row)]
    lines = [f"- {_metric(result, run, scorer)}" for scorer in scorers]
    table = markdown(HEADS, rows, left=2) if rows else ""
    return ["## How it was measured", table, "\n".join(lines), RULE]


def _sampled(run: Run, row: Row) -> Iterator[list[str]]:
    """The line of a row, as its first training seed was sampled."""
    every: Mapping[str, Mapping[str, Any]] = run.config.get("rows", {})
    found = next((made for name, made in every.items() if name.rsplit(" seed ")[0] == row.key), {})
    if "folder" in found:
        yield [row.label, f"a folder of images ({found['folder'][:DIGITS]})", *[DASH] * 4]
    elif "system" in found:
        system = found["system"]
        guidance = "its own" if system["guidance"] is None else f"{system['guidance']:g}"
        files = [f"`{name}` ({digest[:DIGITS]}{_revision(run, name)})" for name, digest in system["files"].items()]
        side = number(system["resolution"], 0)
        yield [row.label, ", ".join(files), str(system["steps"]), guidance, side, found["own_dtype"]]


def _revision(run: Run, name: str) -> str:
    """That of a model, where the profile pins one."""
    weights = run.config["profile"]["weights"]
    pinned = {weights["pipeline"]: weights["revision"]}
    pinned |= {student["repo"]: student["revision"] for student in weights["released"].values()}
    return f", revision {pinned[name]}" if pinned.get(name) else ""


def _metric(result: ScoresResult, run: Run, scorer: Mapping[str, Any]) -> str:
    """All that is said of one metric, as sentences."""
    key = scorer["name"]
    found: dict[str, Mapping[str, Any]] = {
        prompts.label: run.metrics[prompts.key][key]
        for prompts in result.profile.prompt_sets
        if key in run.metrics.get(prompts.key, {})
    }
    inputs: Mapping[str, Any] = next(iter(found.values()), {})
    said = [
        _formula(result, key, inputs),
        _features(inputs.get("features", {})),
        _weights(run, scorer),
        _real_images(found),
        _cut(result, key, inputs),
    ]
    return f"**{_label(result, key)}**: " + " ".join(f"{part}." for part in said if part)


def _label(result: ScoresResult, key: str) -> str:
    column = result.profile.column(key)
    return column.label if column else key


def _formula(result: ScoresResult, key: str, inputs: Mapping[str, Any]) -> str:
    """Of the metric, or of every distance of its features."""
    if "distances" in inputs:
        found = inputs["distances"].items()
        return "; ".join(f"{_label(result, name) if name != key else ''} {_said(said)}".strip() for name, said in found)
    if command := inputs.get("command"):
        return f"scored by a program of another environment, `{' '.join(command)}`"
    return _said(inputs)


def _said(inputs: Mapping[str, Any]) -> str:
    """A formula with its settings."""
    settings = {**inputs.get("rules", {}), **{name: inputs[name] for name in SETTINGS if name in inputs}}
    named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    return f"{inputs.get('formula', '')}{f' ({named})' if named else ''}".strip()


def _features(features: Mapping[str, Any]) -> str:
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


def _weights(run: Run, scorer: Mapping[str, Any]) -> str:
    """Names, revisions and hashes of all weights of a metric."""
    hashes = run.config.get("metrics", {}).get(scorer["name"], {}).get("weights", {})
    named = {"weights": scorer["weights"], **scorer["settings"]}
    return "; ".join(
        f"{name.capitalize() if not place else name} `{_place(source)}` ({_files(source, hashes.get(name, {}))})"
        for place, (name, source) in enumerate(named.items())
        if isinstance(source, Mapping)
    )


def _place(source: Mapping[str, Any]) -> str:
    return f"{source['repo']}/{source['file']}" if source["file"] else source["repo"]


def _files(source: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    more = len(hashes) - FILES
    shown = [f"{name} {digest[:DIGITS]}" for name, digest in list(hashes.items())[:FILES]]
    revision = [f"revision {source['revision']}"] if source["revision"] else []
    return ", ".join([*revision, *shown, *([f"and {more} more"] if more > 0 else [])]) or "no file"


def _real_images(found: Mapping[str, Mapping[str, Any]]) -> str:
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


def _cut(result: ScoresResult, key: str, inputs: Mapping[str, Any]) -> str:
    """Which share of the captions was longer than what the text encoder reads."""
    length = inputs.get("context_length") or inputs.get("towers", {}).get("context_length")
    shares = {prompts.label: _largest(result, prompts.key, key) for prompts in result.profile.prompt_sets}
    known = {label: share for label, share in shares.items() if share is not None}
    if not known:
        return ""
    longer = f"longer than {length} tokens" if length else "longer than the text encoder reads"
    if not any(known.values()):
        return f"No caption is {longer}"
    parts = ", ".join(f"{number(100 * share, 1)} % of {label}" for label, share in known.items())
    return f"Captions {longer} are cut there: {parts}"


def _largest(result: ScoresResult, prompts: str, key: str) -> float | None:
    """The share of a set; rows differ where images were skipped, and the largest stands for them."""
    found = [estimate(result.records.find(row.key, prompts, keys.cut(key))) for row in result.rows]
    return max((share.value for share in found if share is not None), default=None)

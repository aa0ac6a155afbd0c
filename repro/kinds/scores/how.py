"""How the numbers of published models came about, for their page: what was sampled, and how each metric measures.

All of it is read from the newest run: its config names models, weights and their hashes, and its ``metrics`` hold what
every metric says of itself. A run without them says less.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from repro.harness.cells import DASH, estimate, markdown, number
from repro.harness.experiment import Row
from repro.harness.metric_words import DIGITS, features_of, formula, real_images
from repro.harness.schema import Run
from repro.kinds.scores import keys
from repro.kinds.scores.result import ScoresResult

HEADS = ("Setup", "Weights", "Steps", "Guidance", "Side, px", "dtype")
FILES = 3  # whose hashes are named
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
    pinned |= weights.get("revisions", {})
    found = next((pinned[repo] for repo in pinned if name == repo or name.startswith(f"{repo}/")), None)
    return f", revision {found}" if found else ""


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
        features_of(inputs.get("features", {})),
        _weights(run, scorer),
        real_images(found),
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
        return "; ".join(
            f"{_label(result, name) if name != key else ''} {formula(said)}".strip() for name, said in found
        )
    if command := inputs.get("command"):
        return f"scored by a program of another environment, `{' '.join(command)}`"
    return formula(inputs)


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

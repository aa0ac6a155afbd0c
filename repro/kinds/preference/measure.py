"""Records of preferences: votes as a study exported them, or values per image that a metric judges by."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from repro.harness import records as files
from repro.harness.experiment import Column, ExperimentError
from repro.harness.files import ROOT, digest_file
from repro.harness.profile import Profile
from repro.harness.runs import open_run, records_path
from repro.harness.schema import CAPTIONS, Line, PerImage, Record, RecordSet, Run
from repro.harness.votes.agreement import agreement
from repro.harness.votes.assessors import RULE, attentive
from repro.harness.votes.files import VoteError, read
from repro.harness.votes.grouping import grouped, votes_of
from repro.harness.votes.outcomes import Outcomes, outcomes, studied
from repro.harness.votes.proxy import proxy_outcomes, read_scores, scores_of
from repro.harness.votes.shares import DRAWS, SEED, share
from repro.harness.votes.vote import Vote
from repro.kinds.preference import keys
from repro.kinds.preference.declare import Pair, PreferenceFigure
from repro.kinds.preference.options import PreferenceOptions

BOOTSTRAP = {"draws": DRAWS, "seed": SEED}


def run(figure: PreferenceFigure, profile: Profile, options: PreferenceOptions) -> Path:
    """Write the records file; takes seconds.

    Raises:
        ExperimentError: records of the proxy are missing or do not have its systems, or votes would be replaced.
        VoteError: votes or scores that cannot be read, are of other systems, or are too few.
        RecordError: records of the source that cannot be read.
    """
    path = records_path(figure, profile, options)
    _keep(path, options)
    make = _by_metric if options.votes is None else _by_votes
    files.save(path, RecordSet.of(make(figure, profile, options)))
    return path


def _keep(path: Path, options: PreferenceOptions) -> None:
    """Neither votes nor a proxy disappear behind the other by accident."""
    if not path.exists() or options.change:
        return
    had, has = bool(files.load(path).votes), options.votes is not None
    if had != has:
        what = ("votes", "a proxy")
        raise ExperimentError(
            f"{path} holds {what[not had]}, and {what[not has]} would take its place: --replace, or another --out"
        )


def _by_votes(figure: PreferenceFigure, profile: Profile, options: PreferenceOptions) -> Iterator[Line]:
    assert options.votes is not None
    votes = votes_of(grouped(read(options.votes)))  # as records keep them
    check_votes(figure, profile, votes)
    used = votes if options.keep_careless else attentive(votes)
    column = _column(profile)
    judge = {"metric": column.key, "margin": column.margin, "sign": column.sign}
    scores = None if options.scores is None else {**judge, "file": digest_file(options.scores)}
    config = {
        "declared": figure.content,
        "keep_careless": options.keep_careless,
        "attention": {"share": RULE.share, "least": RULE.least},
        "bootstrap": BOOTSTRAP,
        "scores": scores,
    }
    opened = open_run(figure, profile, replace(options, command=_typed(options)), config)
    pairs, criteria = figure.pairs_of(profile), criteria_of(figure, used)
    found = [(p, c, outcomes(used, p.candidate, p.baseline, c)) for p in pairs for c in criteria]
    closed = opened.close(device="people", dtype="none", data_hash=digest_file(options.votes), weights_hash="")
    yield closed
    yield from grouped(votes)
    for pair, criterion, one in found:
        yield _share(closed, pair, keys.win_share(criterion), one)
    if options.scores is not None:
        yield from _agreement(closed, options.scores, found, column)


def check_votes(figure: PreferenceFigure, profile: Profile, votes: Sequence[Vote]) -> None:
    """Refuse votes that are not about the pairs of this figure, or not about all of them.

    Raises:
        VoteError: several studies, a system or pair that is not declared, or a pair without votes.
    """
    about = studied(votes)
    if len(names := sorted({vote.study for vote in votes})) > 1:
        raise VoteError(f"votes of {len(names)} studies, {', '.join(names)}: analyse one at a time")
    pairs = figure.pairs_of(profile)
    known = {system for pair in pairs for system in (pair.candidate, pair.baseline)}
    declared = {frozenset((pair.candidate, pair.baseline)) for pair in pairs}
    for vote in about:
        for system in (vote.left, vote.right):
            if system not in known:
                raise VoteError(f"a vote of {system!r}, which {figure.key} does not compare in {profile.name}; "
                                f"its systems: {', '.join(sorted(known))}")  # fmt: skip
        if frozenset((vote.left, vote.right)) not in declared:
            raise VoteError(f"a vote of {vote.left!r} against {vote.right!r}, which is no pair of {figure.key}")
    had = {(vote.criterion, frozenset((vote.left, vote.right))) for vote in about}
    for criterion in criteria_of(figure, about):
        for pair in pairs:
            if (criterion, frozenset((pair.candidate, pair.baseline))) not in had:
                raise VoteError(f"no vote on {pair.key} in {criterion}")


def criteria_of(figure: PreferenceFigure, votes: Sequence[Vote]) -> list[str]:
    """Criteria that were asked, in the order of the figure.

    Raises:
        VoteError: none was.
    """
    asked = {vote.criterion for vote in studied(votes)}
    if not asked:
        raise VoteError("no votes but of attention checks or careless assessors")
    return [criterion for criterion in figure.criteria if criterion in asked]


def _agreement(run: Run, path: Path, found: Sequence[tuple[Pair, str, Outcomes]], column: Column) -> Iterator[Record]:
    """Of the metric whose scores are given, with the margin and direction of the profile's own column."""
    scores, margin = read_scores(path), column.margin or 0.0
    for criterion in dict.fromkeys(criterion for _, criterion, _ in found):
        pairs = [
            (one, proxy_outcomes(scores, pair.candidate, pair.baseline, margin=margin, sign=column.sign))
            for pair, asked, one in found
            if asked == criterion
        ]
        if (agreed := agreement(pairs)) is None:
            raise VoteError(f"{path}: no scores of two images that were voted on in {criterion}")
        bounds = (agreed.share.low, agreed.share.high)
        name, images = keys.proxy_agreement(criterion), agreed.share.images
        yield Record.of(run, keys.ALL_PAIRS, name, agreed.share.value, n=images, bounds=bounds)
        if agreed.kappa is not None:
            yield Record.of(run, keys.ALL_PAIRS, keys.proxy_kappa(criterion), agreed.kappa, n=images)


def _by_metric(figure: PreferenceFigure, profile: Profile, options: PreferenceOptions) -> Iterator[Line]:
    path = proxy_source(figure, profile, options)
    source = files.load(path)
    column, pairs = _column(profile), figure.pairs_of(profile)
    systems = list(dict.fromkeys(system for pair in pairs for system in (pair.candidate, pair.baseline)))
    seed = _seed(source, column, systems, path)
    origin = source.runs[0]
    proxy = {
        "metric": column.key,
        "margin": column.margin,
        "sign": column.sign,
        "seed": seed,
        "table": origin.table,
        "records": digest_file(path),
        "run": origin.run,
        "commit": origin.commit,
    }
    config = {"declared": figure.content, "proxy": proxy, "bootstrap": BOOTSTRAP}
    opened = open_run(figure, profile, replace(options, command=_typed(options)), config)
    closed = opened.close(
        device=origin.device,
        dtype=origin.dtype,
        data_hash=digest_file(path),
        weights_hash=origin.weights_hash,
        reused=[{"commit": run.commit, "dirty": run.dirty} for run in source.runs],
    )
    kept = list(_kept(source, column, systems, seed))
    yield closed
    yield from kept
    scores = scores_of(RecordSet.of(kept), column.key, systems, seed)
    for pair in pairs:
        one = proxy_outcomes(scores, pair.candidate, pair.baseline, margin=column.margin or 0.0, sign=column.sign)
        yield _share(closed, pair, keys.proxy_share(column.key), one)


def _typed(options: PreferenceOptions) -> str:
    """The command with the names of its files, for where they lie is a matter of one machine."""
    given = {str(path): path.name for path in (options.votes, options.scores, options.records) if path is not None}
    return shlex.join(given.get(word, word) for word in shlex.split(options.command))


def proxy_source(figure: PreferenceFigure, profile: Profile, options: PreferenceOptions) -> Path:
    """The records whose values per image stand for votes.

    Raises:
        ExperimentError: they are not there.
    """
    if options.records is not None:
        return options.records
    name = f"records/{profile.stem(figure.source)}.jsonl"
    places = [options.out / name, ROOT / profile.output / name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise ExperimentError(
            f"{figure.key} judges by a metric from the records of {figure.source}, which are missing: {places[0]}. "
            f"Measure them (python -m repro {figure.source} --profile {profile.name}), name a file by --records, or "
            "give votes of a study by --votes"
        )
    return found


def _column(profile: Profile) -> Column:
    """The metric that stands for people: the profile's first that has a margin and a direction."""
    found = next((one for one in profile.columns if one.margin is not None and one.better is not None), None)
    return profile.required(found, "metric with a margin")


def _seed(source: RecordSet, column: Column, systems: Sequence[str], path: Path) -> int:
    """The lowest training seed that all systems have: a study would show one student of each."""
    seeds: dict[str, set[int]] = {system: set() for system in systems}
    for line in source.per_image:
        if line.metric == column.key and line.variant in seeds:
            seeds[line.variant].add(line.seed)
    if absent := [system for system, found in seeds.items() if not found]:
        raise ExperimentError(f"{path}: no values of {column.key} per image of {', '.join(absent)}")
    if not (common := set.intersection(*seeds.values())):
        raise ExperimentError(f"{path}: no training seed that {', '.join(systems)} share")
    return min(common)


def _kept(source: RecordSet, column: Column, systems: Sequence[str], seed: int) -> Iterator[PerImage]:
    """Values per image that are judged by, and which caption each image is of."""
    values = [
        line for line in source.per_image if line.metric == column.key and line.variant in systems and line.seed == seed
    ]
    sets = {line.prompts for line in values}
    yield from values
    yield from (line for line in source.per_image if line.metric == CAPTIONS and line.prompts in sets)


def _share(run: Run, pair: Pair, metric: str, found: Outcomes) -> Record:
    try:
        one = share(found)
    except VoteError as error:
        raise VoteError(f"{pair.key}, {metric}: {error}") from None
    return Record.of(run, pair.key, metric, one.value, n=one.images, bounds=(one.low, one.high))

"""What measures and what shows name their numbers by the same functions, and by nothing else."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro import load_experiment
from repro.harness.effects import without_group
from repro.harness.experiment import COMPUTE
from repro.harness.files import ROOT
from repro.harness.profile import Profile
from repro.harness.records import RecordSet, load
from repro.harness.schema import CAPTIONS
from repro.kinds.benchmarks import keys as benchmarks
from repro.kinds.benchmarks.declare import BenchmarkPage
from repro.kinds.gallery.declare import Gallery
from repro.kinds.gpu import keys as gpu
from repro.kinds.gpu.declare import GpuPage
from repro.kinds.interface.declare import InterfaceFigure
from repro.kinds.latency import keys as latency
from repro.kinds.latency.declare import AUTOENCODERS, LOSSES, LatencyTable
from repro.kinds.method import keys as method
from repro.kinds.method.declare import SamplingFigure, TrainingFigure
from repro.kinds.preference import keys as preference
from repro.kinds.preference.declare import PreferenceFigure
from repro.kinds.reliability import keys as reliability
from repro.kinds.reliability.declare import ReliabilityPage
from repro.kinds.scores import keys as scores
from repro.kinds.scores.costs import LATENCY, PARAMETERS, SECONDS
from repro.kinds.scores.declare import SKIPPED, Table
from repro.kinds.scores.training_lines import TERMS
from repro.kinds.spectra import keys as spectra
from repro.kinds.spectra.declare import SpectraFigure
from repro.kinds.support import keys as support
from repro.kinds.support.declare import SupportPage
from repro.kinds.training_cost import keys as training_cost
from repro.kinds.training_cost.declare import TrainingCostPage
from repro.kinds.upscaling import keys as upscaling
from repro.kinds.upscaling.declare import UpscalingTable, distance_column
from repro.kinds.validity import keys as validity
from repro.kinds.validity.declare import ValidityPage
from repro.profiles import load_profile

KINDS = ROOT / "repro" / "kinds"
RECORDS = sorted((ROOT / "paper_tables" / "records").glob("*.jsonl"))
# Where a call takes its metric: makers and readers of records.
PLACES = {
    "Record.of": 2, "Series.of": 1, "times": 1, "value": 1, "series": 1, "curve": 1, "note": 1, "find": 2, "values": 2,
    "find_series": 1, "find_curve": 1,
}  # fmt: skip
PARSERS = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"}


def texts(node: ast.AST) -> list[str]:
    """Literal text at the start of a string or f-string; none for other expressions."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return [first.value]
    return [""] if isinstance(node, ast.JoinedStr) else []


def spelled(source: str, stems: set[str]) -> Iterator[int]:
    """Lines that spell a metric: where one is expected, in an f-string, or to take one apart."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) and any(text.startswith(tuple(stems)) for text in texts(node)):
            yield node.lineno
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        name = name if name in PLACES else name.rpartition(".")[2]
        metrics = [keyword.value for keyword in node.keywords if keyword.arg == "metric"]
        if name in PLACES:
            metrics += node.args[PLACES[name] : PLACES[name] + 1]
        if any(map(texts, metrics)):
            yield node.lineno
        if name in PARSERS and any(text.startswith(tuple(stems)) for argument in node.args for text in texts(argument)):
            yield node.lineno


def stems(folder: Path) -> set[str]:
    """How the metrics of a kind begin: the text of its keys before what varies."""
    path = folder / "keys.py"
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ()
    return {text for node in nodes if isinstance(node, ast.JoinedStr) for text in texts(node) if "_" in text}


@pytest.mark.parametrize("folder", [path.parent.name for path in sorted(KINDS.glob("*/declare.py"))])
def test_metrics_are_spelled_in_keys_alone(folder: str) -> None:
    found = [
        f"{path.name}:{line}"
        for path in sorted((KINDS / folder).glob("*.py"))
        if path.name != "keys.py"
        for line in spelled(path.read_text(encoding="utf-8"), stems(KINDS / folder))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'Record.of(run, row.key, "matmul_flops", peak)',
        'Series.of(key, f"seconds_b{batch}", seconds, over="round")',
        'metric = f"parts_b{batch}"',
        'result.value(key, f"{metric}_{model}")',
        'result.records.find(key, "", "exponent")',
        'Curve(variant=key, metric="clean", x=x, y=y, error=e, n=n)',
        'name = line.metric.removeprefix("seconds_")',
    ],
)
def test_a_spelled_metric_would_be_found(source: str) -> None:
    assert set(spelled(source, {"seconds_", "parts_b"})) == {1}


def test_words_and_keys_are_no_spelled_metrics() -> None:
    source = 'heads = [f"{model}, seconds"]\nresult.value(key, keys.seconds(8))\nsettings.value("seconds_")'
    assert list(spelled(source, {"seconds_"})) == []


def of_latency(table: LatencyTable, profile: Profile, records: RecordSet) -> set[str]:
    sizes = records.runs[0].config["protocol"]["batch_sizes"]
    sides = {round(side) for series in records.series if series.metric == latency.SIDES for side in series.values}
    return {
        latency.MATMUL_FLOPS,
        latency.TEXT_TOKENS,
        latency.SIDES,
        *(key(size) for size in sizes for key in (latency.seconds, latency.parts, latency.peak_bytes)),
        *(
            key(loss)
            for loss in LOSSES
            for key in (latency.train_seconds, latency.train_flops, latency.train_peak_bytes)
        ),
        *(latency.ideal(steps, vae) for steps in (4, 6) for vae in AUTOENCODERS),
        *map(latency.flops, latency.PARTS),
        *map(latency.flops_of_side, sides),
    }


def of_spectra(figure: SpectraFigure, profile: Profile, records: RecordSet) -> set[str]:
    levels = (spectra.noisy, spectra.expected, spectra.signal, spectra.safe_side)
    return {
        spectra.CLEAN,
        *(key for name in (spectra.EXPONENT, spectra.FIT, spectra.FALL) for key in (name, spectra.without_block(name))),
        *(key(timestep) for timestep in figure.timesteps for key in levels),
        *(key(preset) for preset in figure.presets(profile) for key in (spectra.sigmas, spectra.scales)),
    }


def of_upscaling(table: UpscalingTable, profile: Profile, records: RecordSet) -> set[str]:
    distances = {table.column(distance_column(profile), timestep).key for timestep in table.timesteps}
    return distances | {key(distance) for distance in distances for key in (upscaling.without_block, upscaling.skipped)}


def of_benchmarks(page: BenchmarkPage, profile: Profile, records: RecordSet) -> set[str]:
    numbers = (benchmarks.seconds, benchmarks.share_of_roofline, benchmarks.peak_bytes)
    return {key(provider) for provider in ("", *page.providers) for key in numbers}


def of_training_cost(page: TrainingCostPage, profile: Profile, records: RecordSet) -> set[str]:
    numbers = (training_cost.seconds, training_cost.peak_bytes, training_cost.flops, training_cost.counted_bytes)
    return {key(model) for model in page.counted for key in numbers}


def of_scores(table: Table, profile: Profile, records: RecordSet) -> set[str]:
    clock = {LATENCY.key, PARAMETERS, SECONDS} if table.clock is not None else set()
    sides = range(1, profile.data.resolution)
    training = {scores.TRAINING_SECONDS, *(scores.loss_at(term, side) for term in TERMS for side in sides)}
    replicates = {
        without_group(column.key, prompts.key, seed)
        for column in profile.columns
        for prompts in profile.prompt_sets
        for seed in {record.seed for record in records.records}
    }
    return {
        CAPTIONS,
        SKIPPED,
        *clock,
        *(training if table.is_distilled else ()),
        *replicates,
        *(column.key for column in (*profile.columns, *COMPUTE)),
    }


def of_support(page: SupportPage, profile: Profile, records: RecordSet) -> set[str]:
    sizes = {*map(support.weight_bytes, support.PARTS), *map(support.peak_bytes, support.USES)}
    return {support.PARAMETERS, support.STEPS, support.CACHE_BYTES, *sizes}


def of_reliability(page: ReliabilityPage, profile: Profile, records: RecordSet) -> set[str]:
    return {reliability.INJECTED, reliability.REPEATED}


def of_validity(page: ValidityPage, profile: Profile, records: RecordSet) -> set[str]:
    numbers = {candidate.column.key for candidate in page.candidates}
    return numbers | set(map(validity.without_group, numbers))


def of_training_step(figure: TrainingFigure, profile: Profile, records: RecordSet) -> set[str]:
    terms = (*method.LOSSES, *method.FAKE_LOSSES)
    levels = {method.SIGMA, method.SIGMA_PDM, method.SIGMA_DMD, method.SIGMA_FAKE}
    errors = {method.UPSCALED_ERROR, method.PREDICTED_ERROR}
    places = {method.STEP, method.ITERATION, method.SIDE, method.LOWER}
    return {*map(method.loss, terms), *map(method.weight, terms), *levels, *errors, *places}


def of_sampling(figure: SamplingFigure, profile: Profile, records: RecordSet) -> set[str]:
    return {method.SIGMAS, method.TIMESTEPS, method.SIDES, method.NOISY, method.PREDICTED, method.CHANGE}


def of_preference(figure: PreferenceFigure, profile: Profile, records: RecordSet) -> set[str]:
    metrics = {column.key for column in profile.columns}
    of_criteria = (preference.win_share, preference.proxy_agreement, preference.proxy_kappa)
    of_votes = {key(criterion) for criterion in figure.criteria for key in of_criteria}
    return {CAPTIONS, *metrics, *map(preference.proxy_share, metrics), *of_votes}


def of_gpu(page: GpuPage, profile: Profile, records: RecordSet) -> set[str]:
    return set(gpu.METRICS)


def of_pictures(figure: Gallery | InterfaceFigure, profile: Profile, records: RecordSet) -> set[str]:
    return set()


KNOWN: dict[type, Callable[..., set[str]]] = {
    LatencyTable: of_latency,
    SpectraFigure: of_spectra,
    UpscalingTable: of_upscaling,
    BenchmarkPage: of_benchmarks,
    TrainingCostPage: of_training_cost,
    Table: of_scores,
    SupportPage: of_support,
    ReliabilityPage: of_reliability,
    ValidityPage: of_validity,
    TrainingFigure: of_training_step,
    SamplingFigure: of_sampling,
    PreferenceFigure: of_preference,
    GpuPage: of_gpu,
    Gallery: of_pictures,
    InterfaceFigure: of_pictures,
}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_keys_name_every_number_of_the_committed_records(path: Path) -> None:
    records = load(path)
    experiment, profile = load_experiment(records.runs[0].table), load_profile(records.runs[0].profile)
    lines = (*records.records, *records.per_image, *records.series, *records.curves)
    assert {line.metric for line in lines} - KNOWN[type(experiment)](experiment, profile, records) == set()


@given(order=st.text(), name=st.text(min_size=1))
def test_a_part_is_found_again(order: str, name: str) -> None:
    assert training_cost.part_name(training_cost.part(order, name), order) == name
    assert training_cost.part_name(order, order) is None

"""From where the images of a table's rows come to how the rows are timed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from repro.harness.experiment import Row
from repro.harness.plan import resolve
from repro.kinds.scores.network_source import NetworkSource
from repro.kinds.scores.row_source import RowSource
from repro.kinds.scores.sources import SystemSource
from repro.kinds.scores.timed_rows import Timed, TimedRows
from repro.kinds.scores.timed_systems import TimedSystems
from repro.stages.images import load_pipeline
from repro.stages.measurement import Measurement


def as_timed(
    measurement: Measurement[Any, Any], rows: Iterable[Row], sources: Mapping[tuple[str, int], RowSource]
) -> Iterator[Timed]:
    """Students on the base network, as they are deployed, and systems by themselves; folders of images not at all.

    Args:
        measurement: world, device, store, pipeline.
        rows: that are measured.
        sources: of their images, by row and training seed; the first seed that did not diverge is timed.
    """
    first: dict[str, RowSource] = {}
    for (key, _), source in sources.items():
        first.setdefault(key, source)
    systems = {key: source for key, source in first.items() if isinstance(source, SystemSource)}
    if systems:
        yield TimedSystems(
            sources=systems,
            captions=measurement.world.captions,
            device=measurement.device,
            store=measurement.store,
            dtype=measurement.execution.dtype,
        )
    networks = [row for row in rows if isinstance(first.get(row.key), NetworkSource)]
    if networks:
        yield TimedRows(
            plans={row.key: resolve(measurement.profile, row).sample for row in networks},
            load=lambda: load_pipeline(measurement.pipeline_folder, measurement.execution.dtype, measurement.device),
            captions=measurement.world.captions,
            device=measurement.device,
            store=measurement.store,
            inputs={
                "pipeline": measurement.pipeline_digest,
                "dtype": measurement.execution.dtype,
                "world": measurement.world.fingerprint(),
            },
        )

"""Says what a page of benchmarks would time."""

from collections.abc import Mapping

from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.benchmarks.declare import BenchmarkPage
from repro.kinds.benchmarks.measure import benchmark_files
from repro.stages.failures import problem
from repro.stages.pytest_benchmark import check_files


def planned(page: BenchmarkPage, profile: Profile, options: RunOptions) -> Mapping[str, str]:
    """The plan of a page, as names and words."""
    files = benchmark_files(page)
    names = ", ".join(path.name for path in files)
    return {
        "Work": f"{len(files)} files of benchmarks, all anew, providers in {page.rounds} rounds: {names}",
        "Missing": problem(lambda: check_files(files)),
    }

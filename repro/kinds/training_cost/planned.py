"""Says what a page of the cost of training would time and count."""

from collections.abc import Mapping

from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.kinds.training_cost.declare import TrainingCostPage
from repro.kinds.training_cost.measure import BENCHMARK_FILES
from repro.stages.failures import problem
from repro.stages.pytest_benchmark import check_files


def planned(page: TrainingCostPage, profile: Profile, options: RunOptions) -> Mapping[str, str]:
    """The plan of a page, as names and words."""
    orders = f"{len(page.orders)} orders of the passes of an iteration"
    return {
        "Times": f"{orders}, in profile {page.timed}, {page.rounds} rounds",
        "Counts": f"FLOPs and memory in {', '.join(page.counted)}; those counted before are found",
        "Missing": problem(lambda: check_files(BENCHMARK_FILES)),
    }

"""Says what a figure of the method would train or sample."""

from collections.abc import Mapping

from repro.harness.files import ROOT
from repro.harness.profile import Profile
from repro.kinds.method.declare import MethodFigure, SamplingFigure, TrainingFigure
from repro.kinds.method.measure import check
from repro.kinds.method.options import MethodOptions
from repro.stages import hub
from repro.stages.failures import problem


def planned(figure: MethodFigure, profile: Profile, options: MethodOptions) -> Mapping[str, str]:
    """The plan of a figure, as names and words."""
    schedule = figure.schedule(profile)
    sides = ", ".join(map(str, schedule.scales))
    missing = _published(figure, profile) or problem(lambda: check(figure, profile, options))
    if isinstance(figure, TrainingFigure):
        training = figure.training(profile, options.step)
        return {
            "Training": f"{training.iterations} iterations of {figure.row.key} at batch size {training.batch_size}, "
            f"on {figure.images_of(profile)} images; shown is the last, of step {options.step} of the schedule",
            "Latent sides": sides,
            "Missing": missing,
        }
    assert isinstance(figure, SamplingFigure)
    return {
        "Images": f"one of {figure.row.key}: number {options.image} of the set {options.prompts}",
        "Latent sides": f"{sides}; what comes out of every step is decoded",
        "Missing": missing,
    }


def _published(figure: MethodFigure, profile: Profile) -> str:
    """What of a published model is not on this machine, without asking for it."""
    if not profile.scorers:
        return ""
    sources = {profile.weights.base: hub.pipeline_files(), profile.weights.released[figure.row.variant]: None}
    lacking = [f"{one} (`{hub.command(one, files)}`)" for one, files in sources.items() if hub.find(one, ROOT) is None]
    return "; ".join(lacking)

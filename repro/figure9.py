"""Figure 9: preference for the full loss over what is left without its parts."""

from repro import _ablations as ablations
from repro.kinds.preference.declare import Pair, PreferenceFigure

OTHERS = (ablations.NO_PDM, ablations.PDM_ONLY, ablations.NO_DMD, ablations.NO_GAN, ablations.FULLSCALE)

FIGURE = PreferenceFigure(
    key="figure9",
    title="Figure 9: preference, the full loss against ablations",
    question="Do people prefer images of the student with the full loss to those of its ablations?",
    systems={row.key: row.label for row in (ablations.FULL, *OTHERS)},
    pairs=tuple(Pair(ablations.FULL.key, row.key) for row in OTHERS),
    source="table5",
    not_recovered=(
        "Which pairs the paper's Figure 9 shows, and its shares, could not be recovered: the pairs here are the full "
        "loss against the main rows of Table 5."
    ),
)

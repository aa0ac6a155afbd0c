"""What faults cost: runs that are killed, damaged or short of disk, gone on with and compared."""

from repro.kinds.reliability.declare import Fault, ReliabilityPage

PAGE = ReliabilityPage(
    key="reliability",
    title="Faults",
    question="What is lost when a run is killed, its files are damaged, or its disk is full?",
    seed=0,
    faults=(
        Fault("training_kill", "Training: `kill -9` at a random moment", 20),
        Fault("training_sigterm", "Training: SIGTERM", 4),
        Fault("training_damage", "Training: newest state cut, zeroed or with a flipped bit", 9),
        Fault("training_nan", "Training: NaN in a loss", 4),
        Fault("training_full_disk", "Training: disk full", 2),
        Fault("training_read_only", "Training: read-only folder", 1),
        Fault("training_clock", "Training: clock jumps by days", 2),
        Fault("training_group", "Training: one of two processes killed", 4),
        Fault("images_kill", "Images and scores: `kill -9` at a random moment", 20),
        Fault("images_shared", "Images and scores: one of two processes killed", 6),
        Fault("images_damage", "Images and scores: file of a finished stage cut, zeroed, flipped or removed", 16),
        Fault("images_full_disk", "Images and scores: disk full", 2),
        Fault("images_read_only", "Images and scores: read-only folder", 1),
        Fault("images_clock", "Images and scores: clock jumps by days", 2),
    ),
    notes=(
        "Tiny networks, random latents and images of noise on the CPU: what is tried is how runs are saved and gone on "
        "with, not how well they draw. *Recovered from* means that the run went on, and that every weight, loss, image "
        "and score has the bits of an undisturbed run; measuring stops with an error where one has not. *Done twice* "
        "counts steps before the last saved state, and finished shards, that were done a second time. What was damaged "
        "has to be: the step that a damaged state had saved, the shard of a damaged file (scores are no shard); more "
        "than that is an error too.",
        "With a state the last line of the log is damaged; earlier lines, from before the state that is taken, would "
        "be lost. A folder becomes read-only when its run has been begun and killed. Under a clock that jumps a run is "
        "asked for twice, and the second time counts.",
    ),
)

"""Metrics: what each says of images of known quality, and which may be used in claims."""

from repro.harness.experiment import Column, Row
from repro.kinds.validity.declare import Candidate, Condition, ValidityPage

QUALITY = (("real", "half"), ("half", "quarter"), ("real", "jpeg"))
DECODED = (("decoded", "half"), ("half", "quarter"), ("decoded", "jpeg"))  # for distances to decoded images
CAPTION = (("quarter", "wrong"), ("jpeg", "wrong"), ("teacher", "wrong"))
ONE_WORD = tuple(("real", change) for change in ("colour", "shape", "relation", "count"))
IN_THE_MIDDLE = "its best value lies in the middle, so more of it is no better"


def fullscale(steps: int) -> Row:
    """The student of Table 2 that works at full scale throughout."""
    return Row(f"fullscale_{steps}", "Full-scale", train={"schedule": f"full-{steps}"})


PAGE = ValidityPage(
    key="validity",
    title="Metrics on images of known quality",
    question="Which metrics measure what they should?",
    images=(("short", 200), ("compositional", 100)),
    references=500,
    conditions=(
        Condition("real", "Real", "real"),
        Condition("decoded", "Real through the VAE", "decoded"),
        Condition("half", "Half resolution", "blur", 2),
        Condition("quarter", "Quarter resolution", "blur", 4),
        Condition("jpeg", "JPEG 50", "jpeg", 50),
        Condition("wrong", "Wrong captions", "other"),
        Condition("colour", "Other colour", "real", change="colour"),
        Condition("shape", "Other shape", "real", change="shape"),
        Condition("relation", "Swapped relation", "real", change="relation"),
        Condition("count", "Other count", "real", change="count"),
        Condition("same", "One scene per caption", "repeat"),
        Condition("teacher", "Teacher", "sampled", row=Row("teacher", "Teacher")),
        Condition("fullscale_6", "Full-scale, 6 steps", "sampled", row=fullscale(6)),
        Condition("fullscale_2", "Full-scale, 2 steps", "sampled", row=fullscale(2)),
    ),
    candidates=(
        Candidate(
            column=Column("scene_score", "Scene score", better="higher", digits=3),
            orders=QUALITY + CAPTION + ONE_WORD,
            ceiling="real",
            cost=("real", "half"),
        ),
        Candidate(
            column=Column("contour_error", "Contour error", better="lower", digits=3, unit="px"),
            orders=QUALITY,
            ceiling="real",
            cost=("real", "half"),
        ),
        Candidate(
            column=Column("colour_error", "Colour error", better="lower", digits=2, unit="levels"),
            orders=QUALITY,
            ceiling="real",
            cost=("real", "half"),
        ),
        Candidate(
            column=Column("detail", "Detail", digits=3),
            orders=(("real", "half"), ("half", "quarter")),
            barred=IN_THE_MIDDLE,
        ),
        Candidate(
            column=Column("scene_accuracy", "Scene accuracy", better="higher", digits=1, percent=True, most=1.0),
            orders=QUALITY + CAPTION + ONE_WORD,
            ceiling="real",
        ),
        Candidate(
            column=Column("mini_clip", "Mini-CLIP", better="higher", digits=3),
            orders=QUALITY + CAPTION + ONE_WORD,
            ceiling="real",
        ),
        Candidate(
            column=Column("fid_e", "FID-E", better="lower", digits=1), orders=QUALITY, ceiling="real", transparent=True
        ),
        Candidate(
            column=Column("fid_e_decoded", "FID-E, decoded reference", better="lower", digits=1),
            orders=DECODED,
            ceiling="decoded",
            cost=("decoded", "half"),
        ),
        Candidate(
            column=Column("kid_e", "KID-E", better="lower", digits=2, scale=1000.0, unit="1e-3"),
            orders=QUALITY,
            ceiling="real",
            steady=("decoded",),
            against="half",
        ),
        Candidate(
            column=Column(
                "kid_e_decoded", "KID-E, decoded reference", better="lower", digits=2, scale=1000.0, unit="1e-3"
            ),
            orders=DECODED,
            ceiling="decoded",
            cost=("decoded", "half"),
        ),
        Candidate(
            column=Column("placement", "Placement", better="higher", digits=2, unit="% of the side"),
            orders=(("real", "same"), ("decoded", "same")),
            ceiling="real",
            cost=("real", "same"),
            steady=("decoded", "half"),
            against="same",
        ),
        Candidate(
            column=Column("feature_spread", "Feature spread", better="higher", digits=4),
            orders=(("real", "same"), ("decoded", "same")),
            ceiling="real",
            steady=("decoded", "half"),
            against="same",
        ),
        Candidate(
            column=Column("top_band", "Top-band power", digits=2, scale=1000.0, unit="1e-3"),
            orders=(("real", "half"),),
            barred=IN_THE_MIDDLE,
        ),
    ),
    separation=3.0,
    steadiness=0.1,
    floor=2.0,
    floor_of="fid_e",
    kept=0.8,
    kept_of="top_band",
    primary=("scene_score", "contour_error", "fid_e_decoded", "placement"),
    worse=("fullscale_6", "fullscale_2"),
    worse_in=2,
    room=4.0,
    notes=(
        "A metric is fit for a claim if it tells every pair of conditions apart that it must, by 3 standard errors, "
        "calls nothing better than its ceiling by as many, and, where it measures diversity, is moved by blur less "
        "than a tenth as much as by a collapse to one scene per caption. Distances to images that did not pass the VAE "
        "must not be the VAE's own: at most twice their floor for real scenes through it, or, for KID, whose floor is "
        "0, a tenth of what half resolution makes. What must be told apart was fixed before this page was measured: "
        "real from half resolution and JPEG, half from quarter resolution, and, "
        "for what reads captions, everything from scenes of wrong captions; and, fixed before those were measured, "
        "real scenes from themselves under a caption that is wrong in one word.",
        "All rows have the same captions: 200 short and 100 compositional ones. Distances are to 500 other scenes of "
        "each set, as they are, or for a *decoded reference* through the VAE. Intervals and standard errors are those "
        "of a jackknife over 20 groups of captions, the same groups in every row, so differences are paired; the "
        "reference is held fixed. Wrong captions: real scenes of the next caption of the same kind. Other colour, "
        "shape, count and swapped relation: the real scenes under their own captions with that one word changed (of "
        "two objects of one), or as they are where they have no such word. Distances and detail read no caption and "
        "say of them what they say of real scenes; contour, colour and placement look at the objects of the caption, "
        "so no ceiling is asked of them there. Students are those that ship, of one training seed; Table 2 has more. "
        "Blur: mean over squares of 2 or 4 pixels, bicubic back. Detail compares each image with the scene behind its "
        "caption seen through the VAE (log of the power from 1/4 to 1/2 cycle per pixel); the top band begins at "
        "29/64.",
    ),
)

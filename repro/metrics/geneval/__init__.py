"""GenEval (Ghosh et al., NeurIPS 2023) without mmdet: what is asked for is looked for by an object detector.

| module | part |
|---|---|
| `rules` | from objects that were found to a verdict with reasons: numpy alone |
| `keys`, `convert` | the published mmdet detector as a folder of transformers' Mask2Former |
| `detector` | an image to objects, as mmdet's test pipeline does it |
| `colors` | CLIP that names the colour of an object |
| `metric` | all together, as a `Metric` |

The module `repro.metrics.geneval.metric` is not imported here, so that the rules can be read without a network library.
"""

from repro.metrics.geneval.rules import Found, Thresholds, Verdict, judge, select

__all__ = ["Found", "Thresholds", "Verdict", "judge", "select"]

import numpy as np
import pytest
from metric_checkpoints import clip_folder, image_reward_folder, open_clip_folder, photograph, pickscore_folder
from PIL import Image

from repro.metrics import Metric, evaluate
from repro.metrics.clip_vit_h import clip_vit_h_score
from repro.metrics.external import ExternalScore, Scorer
from repro.metrics.image_reward import ImageReward
from repro.metrics.pickscore import pick_score

PROMPTS = [{"id": f"p{index}", "caption": caption} for index, caption in enumerate(["a star", "two dogs", "a " * 90])]
PICTURES = [photograph(seed, size) for seed, size in enumerate([(32, 32), (50, 40), (64, 64)])]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    root = tmp_path_factory.mktemp("metrics")
    reward = str(image_reward_folder(root / "image_reward"))
    return [
        pick_score(str(pickscore_folder(root / "pickscore")), processor=str(clip_folder(root / "clip"))),
        clip_vit_h_score(str(open_clip_folder(root / "open_clip"))),
        ImageReward(reward, tokenizer=reward),
        ExternalScore(Scorer(key="hpsv3"), {"p2": 3.0, "p1": 2.0, "p0": 1.0}),
    ]


def test_one_pass_feeds_all_however_it_is_cut(metrics: list[Metric]) -> None:
    whole = evaluate([(PICTURES, PROMPTS)], metrics)
    parts = evaluate([(PICTURES[:1], PROMPTS[:1]), (PICTURES[1:], PROMPTS[1:])], metrics)
    assert set(whole.per_image) == {"pickscore", "clipscore", "image_reward", "hpsv3"}
    for name, values in whole.per_image.items():
        np.testing.assert_allclose(parts.per_image[name], values, atol=1e-5)
        assert whole.values[name].value == pytest.approx(values.astype(float).mean())
    assert {key: round(found.value, 3) for key, found in whole.values.items() if key.endswith("_cut")} == {
        "pickscore_cut": 0.333,
        "clipscore_cut": 0.333,
        "image_reward_cut": 0.333,
    }


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16"])
def test_other_modes_are_refused_by_name(mode: str, metrics: list[Metric]) -> None:
    with pytest.raises(ValueError, match=f"must be RGB, got .*{mode}"):
        evaluate([([Image.new(mode, (32, 32))], PROMPTS[:1])], metrics)

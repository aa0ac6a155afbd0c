"""The package `hpsv3` (1.0.0 asks for transformers 4.45.2), in an environment of its own.

    ENV/bin/python repro/metrics/runners/hpsv3_official.py requests.jsonl results.jsonl [--device cuda] [--batch 8]

It gives a mean and a spread for each image, of a normal distribution over what people would say; the score is the mean.
"""

from file_contract import Requests, add_scores, arguments, unscored  # type: ignore[import-not-found]  # beside this file


def main() -> None:
    """Read requests, write a result for each."""
    parser = arguments("Score images with the package hpsv3.", device="cuda")
    parser.add_argument("--batch", type=int, default=8, help="images at once (default: %(default)s)")
    given = parser.parse_args()
    if todo := unscored(given.requests, given.results):
        import torch
        from hpsv3 import HPSv3RewardInferencer  # type: ignore[import-not-found]  # of the other environment

        model = HPSv3RewardInferencer(device=given.device)

        def score(part: Requests) -> list[float]:
            with torch.no_grad():
                rewards = model.reward([line["image"] for line in part], [line["caption"] for line in part])
            return [float(reward[0]) for reward in rewards]

        add_scores(todo, given.results, score, batch=given.batch)


if __name__ == "__main__":
    main()

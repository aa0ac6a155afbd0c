"""The mini world: captioned 64x64 scenes, the networks trained on them, and the metrics that suit them."""

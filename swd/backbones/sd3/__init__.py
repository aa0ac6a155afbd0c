"""SD3 and SD3.5: a velocity-predicting transformer over image and text tokens."""

"""Times of the building blocks, from pytest-benchmark."""

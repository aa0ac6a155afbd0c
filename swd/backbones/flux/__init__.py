"""FLUX.1: a rectified flow whose transformer has double and single blocks, and takes guidance as an input."""

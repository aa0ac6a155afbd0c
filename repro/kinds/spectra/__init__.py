"""Figures of spectra: which frequencies noise masks."""

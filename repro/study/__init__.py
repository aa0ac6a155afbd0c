"""A preference study in the browser: people see two images side by side and answer one question; no torch."""

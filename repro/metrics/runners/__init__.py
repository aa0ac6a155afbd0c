"""Programs for the environments of other packages; each is run as a file and imports nothing of this project.

Python puts a program's own folder first on its path, so they share `file_contract` by that name alone.
"""

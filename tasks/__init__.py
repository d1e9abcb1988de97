"""One module a stage: `run` is the science, `main` the plumbing. DVC alone calls them, as `python -m tasks.<stage>`."""

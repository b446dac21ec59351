"""A grid of runs over a function or a notebook, each in a process of its own, in a folder that can be gone on with."""

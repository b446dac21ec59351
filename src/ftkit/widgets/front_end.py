"""Whether somebody is there to click. Knows nothing about what is shown."""


def live() -> bool:
    """True where a person at a front end runs the cell; false under papermill and nbconvert, and in plain Python.

    A front end with a person says that it can be asked for input; the libraries that run notebooks say that it cannot.
    """
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))

"""Who is there to see and to click. Knows nothing about what is shown."""


def live() -> bool:
    """True where a person at a front end runs the cell; false under papermill and nbconvert, and in plain Python.

    A front end with a person says that it can be asked for input; the libraries that run notebooks say that it cannot.
    """
    return bool(getattr(_kernel(), "_allow_stdin", False))


def hears_while_running() -> bool:
    """Whether a press can reach the kernel while a cell runs: kernels with subshells, which ipykernel has since 7.0.

    The front end has to send it there: JupyterLab does so since 4.4, Notebook since 7.4.
    """
    return bool(getattr(_kernel(), "_supports_kernel_subshells", False))


def hear_while_running_(widget) -> None:
    """Lets what is done to a widget be heard by the thread that the front end sends it to, beside the cell that runs.

    ipykernel 7.4 hands it to whoever told the widget something last: to the cell, which hears nothing until it ends.
    """
    widget.comm._reply_subshell_for = lambda data, subshell: subshell


def cell() -> tuple[str, str]:
    """Which cell is running, and which of its runs this is; two empty texts outside of a kernel."""
    from IPython import get_ipython

    kernel = _kernel()
    if kernel is None:
        return "", ""
    parent = kernel.get_parent("shell")
    sources = get_ipython().user_ns.get("In") or [""]
    name = (parent.get("metadata") or {}).get("cellId") or sources[-1]  # without an id a cell is known by its text
    return name, parent.get("header", {}).get("msg_id", "")


def _kernel():
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None)

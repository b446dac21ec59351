"""What is looked at in a notebook; each widget: a pure `compute`, a shell that shows it, a `static` picture."""

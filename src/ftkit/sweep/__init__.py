"""Many runs of one function or notebook: what was asked, how it is run, and what follows from it."""

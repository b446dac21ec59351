"""ftkit: a notebook-first kit for learning and running fine-tuning of language models."""

__version__ = "0.1.0"

"""Notebooks as things that are run, checked and kept tidy. Knows nothing about what a lesson teaches."""

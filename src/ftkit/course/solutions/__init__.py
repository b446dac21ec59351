"""The official answers, one module for each lesson."""

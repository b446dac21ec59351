"""What a notebook calls: start, exercise, progress, workspace."""

"""Records from files and hubs: read, validate, split. Returns records and counts, never draws."""

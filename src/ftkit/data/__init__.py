"""Records from files, hubs and documents: read, clean, split, mix. Returns records and counts, never draws."""

"""LoRA: low-rank additions to frozen layers, added to any model, merged, taken out, saved and loaded."""

"""The embedded base: a small pretrained model, its world and its tokenizer."""

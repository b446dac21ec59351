"""How good a model's words are: perplexity, answers, scores, and how far chance alone would move them."""

"""Block quantisation: codebooks, packed blocks of 4- and 8-bit codes, and a linear layer that holds them."""

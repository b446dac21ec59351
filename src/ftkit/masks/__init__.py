"""Which tokens of any encoded data carry loss: shown, counted, and what is wrong with them said."""

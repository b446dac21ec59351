"""The memory of a training measured: on tensors that are not there, for models of any size, or on real ones."""

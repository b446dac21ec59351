"""The training loop and what it needs: `config`, `schedule`, `order`, `checkpoint`, `loop`."""

"""What an answer to an exercise of lesson 09 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import epoch_prices, kept_activations, peaks, state_sizes

CHECKS = {
    "09.1": Check("lora_numbers", "How many numbers a LoRA has", 1, 8, state_sizes.lora),
    "09.2": Check("state_bytes", "What a step needs for each weight", 2, 10, state_sizes.states),
    "09.3": Check("mlp_kept_bytes", "What an MLP keeps for the way back", 3, 15, kept_activations.kept),
    "09.4": Check("left_out", "What 'parameters times four' leaves out", 3, 8, peaks.rules),
    "09.5": Check("micro_batches", "The largest micro-batch that fits", 4, 12, peaks.batches),
    "09.6": Check("epoch_price", "What an epoch costs", 4, 10, epoch_prices.prices),
}

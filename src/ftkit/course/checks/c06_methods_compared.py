"""What an answer to an exercise of lesson 06 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import fronts, parallel_adapters, trained_shares, virtual_tokens

CHECKS = {
    "06.1": Check("trained_numbers", "How many numbers each method trains", 1, 9, trained_shares.numbers),
    "06.2": Check("left_to_train", "Freezing by names", 2, 10, trained_shares.freezing),
    "06.3": Check("Beside", "An adapter beside the block", 3, 11, parallel_adapters.beside),
    "06.4": Check("with_prompt", "A prompt in front of rows padded on the left", 3, 12, virtual_tokens.prompts),
    "06.5": Check("prefix_share", "How much a token looks at the prefix", 4, 13, virtual_tokens.shares),
    "06.6": Check("unbeaten", "What no other method beats", 4, 10, fronts.fronts),
}

"""What an answer to an exercise of lesson 05 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import choosing, grids, low_rank_moves

CHECKS = {
    "05.1": Check("star", "A star of settings", 1, 7, grids.stars),
    "05.2": Check("rank_of_budget", "The rank that a budget buys", 2, 8, grids.budgets),
    "05.3": Check("addition_norm", "How large is what LoRA adds?", 2, 9, low_rank_moves.norms),
    "05.4": Check("seeds_needed", "How many seeds would settle it?", 3, 9, choosing.seeds),
    "05.5": Check("honest_best", "What the winner is worth", 3, 10, choosing.winners),
    "05.6": Check("halving", "Successive halving", 4, 12, choosing.halvings),
    "05.7": Check("twin", "Two settings, one training", 5, 15, low_rank_moves.twins),
}

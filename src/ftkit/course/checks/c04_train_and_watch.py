"""What an answer to an exercise of lesson 04 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import clipping, loss_parts, optimizer_steps, recipes, stopping

CHECKS = {
    "04.1": Check("recipe", "Steps, warm-up and checkpoints of a recipe", 1, 7, recipes.counts),
    "04.2": Check("stable_decay_rate", "Up, level, and down to a floor", 2, 9, recipes.rates),
    "04.3": Check("weighted_parts", "Parts of a loss whose tokens have weights", 3, 12, loss_parts.parts),
    "04.4": Check("clip_", "Clipping that survives what comes", 3, 9, clipping.clipping),
    "04.5": Check("cautious_lion", "A Lion that never goes uphill", 4, 12, optimizer_steps.moving),
    "04.6": Check("early_stop", "When to stop, and where to go back to", 4, 12, stopping.stopping),
}

"""What an answer to an exercise of lesson 18 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import chunked_losses, shelves, strange_models, templates_seen, tight_cards

CHECKS = {
    "18.1": Check("on_disk", "Adapters or merged models on the disk", 1, 8, shelves.sizes),
    "18.2": Check("names_to_adapt", "The names of a model never seen", 2, 12, strange_models.names),
    "18.3": Check("faults_of", "What is wrong with an encoded record", 3, 15, templates_seen.faults),
    "18.4": Check("fewest_changes", "What has to change on a smaller card", 4, 15, tight_cards.changes),
    "18.5": Check("loss_in_chunks", "Loss and gradient without all the logits", 5, 20, chunked_losses.losses),
}

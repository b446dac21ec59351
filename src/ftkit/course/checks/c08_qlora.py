"""What an answer to an exercise of lesson 08 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import held_bytes, into_codes, over_codes

CHECKS = {
    "08.1": Check("cast_bytes", "What the float32 cast costs", 1, 6, held_bytes.cast),
    "08.2": Check("adam_state", "What an 8-bit, paged optimizer keeps", 2, 10, held_bytes.adam),
    "08.3": Check("qlora_gradients", "Where the gradients of a QLoRA layer go", 3, 12, over_codes.gradients),
    "08.4": Check("survives", "What of an update survives a merge into codes", 3, 12, into_codes.survival),
    "08.5": Check("best_loftq", "LoftQ, the best of several rounds", 4, 15, into_codes.rounds),
    "08.6": Check("SlicedProduct", "A product that never holds the whole weight", 5, 20, over_codes.slices),
}

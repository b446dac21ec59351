"""Cases for answers about the highest moment of a step and what fits under a limit. Knows nothing about a notebook."""

from ftkit.course.cases import Case, Hint, Rule

_STEP = {  # of a LoRA, in MB
    "forward": {"weights": 600, "adapters": 10, "activations": 200, "logits": 0},
    "loss": {"weights": 600, "adapters": 10, "activations": 170, "logits": 220},
    "optimizer": {"weights": 600, "adapters": 10, "gradients": 10, "states": 20, "activations": 0},
}
_RATIO = "shares of whole numbers; float64 rounds each division once"


def rules() -> list[Case]:
    """A step of a LoRA, one of full fine-tuning, and moments that are built to be mistaken."""
    return [*_rules_of_a_lora(), *_rules_of_others()]


def _rule(moments, *counted):
    return lambda answer: answer({name: dict(parts) for name, parts in moments.items()}, set(counted))


def _rules_of_a_lora() -> list[Case]:
    return [
        Case("a rule that counts the weights", _rule(_STEP, "weights"),
             ("loss", {"adapters": 0.01, "activations": 0.17, "logits": 0.22}), [
                 Hint(lambda got: got[0] == "forward", "The highest moment is the one with the largest sum, not with "
                      "the largest single part."),
                 Hint(lambda got: got[0] == "optimizer", "Look for the largest sum, over the parts of one moment."),
                 Hint(lambda got: got[1] == {"adapters": 10, "activations": 170, "logits": 220}, "Shares of the peak "
                      "are wanted: divide by all bytes of that moment."),
                 Hint(lambda got: "weights" in got[1], "The rule counts the weights: the others are left out."),
                 Hint(lambda got: "gradients" in got[1], "Gradients are not there at the highest moment: the peak is "
                      "one moment, not the sum of each part's highest."),
                 Hint(lambda got: abs(sum(got[1].values()) - 1) < 1e-9, "Shares of the whole peak, the counted parts "
                      "included: they need not sum to 1."),
             ], tolerance=1e-12, reason=_RATIO),
        Case("a rule that counts weights and logits", _rule(_STEP, "weights", "logits"),
             ("loss", {"adapters": 0.01, "activations": 0.17}), [
                 Hint(lambda got: got[0] == "forward", "The peak is where most bytes are alive, whatever the rule "
                      "counts."),
             ], tolerance=1e-12, reason=_RATIO),
        Case("a rule that counts a part there is not", _rule(_STEP, "weights", "gradients", "states"),
             ("loss", {"adapters": 0.01, "activations": 0.17, "logits": 0.22}), [
                 Hint(KeyError, "A rule may count parts that are not alive at the peak."),
             ], tolerance=1e-12, reason=_RATIO),
        Case("a rule that counts nothing", _rule({"loss": {"weights": 3, "logits": 1}}),
             ("loss", {"weights": 0.75, "logits": 0.25}), tolerance=1e-12, reason=_RATIO),
    ]


def _rules_of_others() -> list[Case]:
    full = {"forward": {"weights": 4, "activations": 3}, "backward": {"weights": 4, "gradients": 4, "activations": 1},
            "optimizer": {"weights": 4, "gradients": 4, "states": 8}}
    return [
        Case("full fine-tuning, four times the weights", _rule(full, "weights", "gradients", "states"),
             ("optimizer", {}), [
                 Hint(lambda got: got[0] == "optimizer" and bool(got[1]), "At its peak everything is counted: nothing "
                      "is left out."),
             ]),
        Case("a part of no bytes", _rule({"loss": {"weights": 3, "cache": 0, "logits": 1}}, "weights"),
             ("loss", {"logits": 0.25}), [
                 Hint(lambda got: "cache" in got[1], "What takes no bytes is not left out: leave it away."),
             ], tolerance=1e-12, reason=_RATIO),
        Case("two moments as high", _rule({"loss": {"weights": 1, "logits": 1}, "backward": {"weights": 2}}, "weights"),
             ("loss", {"logits": 0.5}), [
                 Hint(lambda got: got[0] == "backward", "Of two moments that are as high the first counts."),
             ], tolerance=1e-12, reason=_RATIO),
        Case("a share that does not end", _rule({"loss": {"weights": 1, "logits": 2}}, "weights"),
             ("loss", {"logits": 2 / 3}), [
                 Hint(lambda got: 0 < abs(got[1]["logits"] - 2 / 3) < 0.01, "Shares are not rounded."),
             ], tolerance=1e-12, reason=_RATIO),
        Case("the last moment", _rule({"one": {"a": 1}, "two": {"b": 2, "a": 1}, "three": {"c": 4}}, "a"),
             ("three", {"c": 1.0}), tolerance=1e-12, reason=_RATIO),
        Case("many small parts beat a large one", _rule(
            {"large": {"weights": 9}, "small": {"weights": 2, "a": 4, "b": 4}}, "weights"),
            ("small", {"a": 0.4, "b": 0.4}), tolerance=1e-12, reason=_RATIO),
    ]


_FORWARD, _STEPPING = (100, 10, False), (130, 0, True)  # MB: fixed, for each row, gradients in it


def batches() -> list[Case]:
    """One moment, then two, then gradients that wait; then what divides the rows and what does not."""
    return [*_batches_of_one_moment(), *_batches_with_gradients(), *_batches_that_divide()]


def _batch(rows, limit, *moments, gradients=0):
    return lambda answer: answer(rows, limit, list(moments), gradients)


def _batches_of_one_moment() -> list[Case]:
    return [
        Case("all 8 rows fit", _batch(8, 200, _FORWARD), (8, 1), [
            Hint((1, 8), "The largest batch that fits is wanted."),
            Hint((8, 0), "One micro-batch makes the step: accumulation is 1."),
            Hint((10, 1), "No more than the rows of the step."),
            Hint((1, 1), "batch_size · accumulation must be the rows of the step."),
        ]),
        Case("8 rows, 4 fit", _batch(8, 140, _FORWARD), (4, 2), [
            Hint((2, 4), "What just fits, fits: 100 + 4 · 10 is not above 140."),
            Hint((4, 1), "batch_size · accumulation must be the rows of the step."),
            Hint((8, 1), "100 + 8 · 10 is above 140."),
        ]),
        Case("8 rows, 7 would fit", _batch(8, 170, _FORWARD), (4, 2), [
            Hint(lambda got: got[0] == 7, "7 does not divide 8: the step would not have 8 rows."),
            Hint((4, 1), "batch_size · accumulation must be the rows of the step."),
        ]),
        Case("not even one row", _batch(8, 109, _FORWARD), None, [
            Hint(lambda got: isinstance(got, tuple), "Where not even one row fits, return None."),
            Hint(ZeroDivisionError, "Where not even one row fits, return None."),
        ]),
        Case("one row, just so", _batch(8, 110, _FORWARD), (1, 8)),
        Case("two moments", _batch(4, 135, _FORWARD, _STEPPING), (2, 2), [
            Hint((4, 1), "The highest of all moments must fit: with 4 rows the first one takes 140."),
            Hint((1, 4), "The moments do not add up: they come one after the other."),
            Hint(None, "The moments do not add up: they come one after the other."),
        ]),
        Case("the second moment just fits", _batch(2, 130, _FORWARD, _STEPPING), (2, 1), [
            Hint(None, "130 is not above 130, and the moment has its gradients already."),
        ]),
        Case("one too many", _batch(4, 139, _FORWARD, gradients=5), (2, 2), [
            Hint((4, 1), "100 + 4 · 10 is above 139."),
        ]),
        Case("a moment that no batch changes", _batch(4, 129, _FORWARD, _STEPPING), None, [
            Hint((2, 2), "The highest of all moments must fit: the second one takes 130 with any batch."),
        ]),
    ]


def _batches_with_gradients() -> list[Case]:
    return [
        Case("gradients wait", _batch(4, 135, _FORWARD, _STEPPING, gradients=20), (1, 4), [
            Hint((2, 2), "With accumulation the gradients of the micro-batches before are there during the next "
                 "forward pass: 100 + 2 · 10 + 20 is above 135."),
            Hint(None, "A moment with gradients in it has them already: 130 is 130."),
        ]),
        Case("gradients do not wait in one batch", _batch(4, 140, _FORWARD, _STEPPING, gradients=20), (4, 1), [
            Hint((2, 2), "Without accumulation nothing waits: 100 + 4 · 10 is not above 140."),
            Hint((1, 4), "Without accumulation nothing waits: 100 + 4 · 10 is not above 140."),
        ]),
        Case("gradients that never fit", _batch(4, 125, _FORWARD, gradients=20), None, [
            Hint((2, 2), "100 + 2 · 10 and gradients of 20 are above 125; and so is one row."),
            Hint((1, 4), "100 + 10 and gradients of 20 are above 125."),
        ]),
        Case("the whole fits, a part does not", _batch(2, 120, _FORWARD, gradients=15), (2, 1), [
            Hint(None, "A smaller micro-batch may need more, since gradients wait: try all 2 rows, too."),
        ]),
        Case("one row, one batch", _batch(1, 110, _FORWARD, gradients=20), (1, 1)),
    ]


def _batches_that_divide() -> list[Case]:
    return [
        Case("12 rows, 5 would fit", _batch(12, 150, _FORWARD), (4, 3), [
            Hint((3, 4), "4 divides 12 as well, and is larger."),
            Hint((2, 6), "4 divides 12 as well, and is larger."),
        ]),
        Case("7 rows, 6 would fit", _batch(7, 160, _FORWARD), (1, 7), [
            Hint(lambda got: got is not None and got[0] in (3, 6), "7 is prime: 1 and 7 divide it."),
        ]),
        Case("a thousand rows", _batch(1000, 100 + 10 * 333, _FORWARD, gradients=15), (250, 4)),
        Case("more rows than gigabytes", _batch(200, 100, (50, 0.25, False)), (200, 1), [
            Hint((100, 2), "The search begins at all rows of the step, whatever the limit is."),
        ]),
        Case("the kind of number", lambda answer: answer(8, 140, [_FORWARD], 0),
             Rule("two whole numbers (int)", lambda got: [type(one) for one in got] == [int, int]), [
                 Hint(lambda got: True, "Rows and micro-batches are counted: // keeps ints ints."),
        ]),
        Case("a moment that falls with no rows", _batch(6, 1000, (0, 300, True), (900, 1, False), gradients=98),
             (2, 3), [
                 Hint((3, 2), "Each moment by itself: 3 · 300 fits, but 900 + 3 and gradients of 98 do not."),
        ]),
    ]

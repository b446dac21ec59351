"""Known wrong answers to the exercises of lesson 08: by exercise, the hint each must get and its source.

A wrong answer is the official one with a few words of it changed, so that what is wrong is what is shown.
"""

from ftkit.course.catalogue import solution_source

HEAD = "import math\nimport torch\n\n\n"


def changed(exercise, *pairs):
    """The official answer with pieces of its source replaced, each of them once or more."""
    source = solution_source(exercise)
    for old, new in pairs:
        assert old in source, f"{exercise}: {old}"
        source = source.replace(old, new)
    return HEAD + source


EITHER = 'if kind in ("bfloat16", "float16"):'
WRONG = {
    "08.1": {
        "2,000 of them were held before": changed("08.1", ("2 * numbers", "4 * numbers")),
        "grows by two bytes, not by one": changed("08.1", ("2 * numbers", "numbers")),
        "These are bits": changed("08.1", ("2 * numbers", "16 * numbers")),
        "bfloat16 is cast, as float16 is": changed("08.1", (EITHER, 'if kind == "float16":')),
        "float16 is cast, too": changed("08.1", (EITHER, 'if kind == "bfloat16":')),
        "float32 already grows by nothing": changed("08.1", (EITHER, 'if "float" in kind:')),
        "lm_head and embed_tokens have one storage": changed("08.1", ("more[storage]", "more[len(more)]")),
        "codes of four bits: codes are not cast": changed("08.1", (EITHER, 'if kind not in ("float32", "int8"):')),
        "int8 holds codes": changed("08.1", (EITHER, 'if kind not in ("float32", "uint8"):')),
        "two, unless they lie in one storage": changed("08.1", ("more[storage]", "more[numbers, kind]")),
    },
    "08.2": {
        "two moments of every number": changed("08.2", ("2 * 4 * numbers, 0", "4 * numbers, 0")),
        "Return two numbers": changed("08.2", ("return total, in_pages", "return total")),
        "Scales belong to 8-bit moments": changed("08.2", ("2 * 4 * numbers, 0",
                                                           "2 * 4 * numbers, 2 * 4 * math.ceil(numbers / 256)")),
        "8-bit moments have scales": changed("08.2", ("2 * 4 * math.ceil(numbers / 256)", "0")),
        "scales of its own": changed("08.2", ("2 * 4 * math.ceil(numbers / 256)", "4 * math.ceil(numbers / 256)")),
        "their moments take one byte a number": changed("08.2", ("bits == 8 and numbers >= 4096", "False")),
        "stay in float32, whatever was asked for": changed("08.2", (" and numbers >= 4096", "")),
        "4,096 numbers are enough": changed("08.2", ("numbers >= 4096", "numbers > 4096")),
        "A block that is begun": changed("08.2", ("math.ceil(numbers / 256)", "(numbers // 256)")),
        "There is no part of a scale": changed("08.2", ("math.ceil(numbers / 256)", "numbers / 256")),
        "The scales are not paged": changed("08.2", ("in_pages += moments", "in_pages += moments + scales")),
        "100,000 or more": changed("08.2", ("numbers >= 100_000", "numbers > 200_000")),
        "Small tensors stay where they are": changed("08.2", ("paged and numbers >= 100_000", "paged"),
                                                     ("in_pages += moments", "in_pages += moments + scales")),
        "Paging has nothing to do with the bits": changed("08.2", ("if paged and", "if paged and bits == 8 and")),
        "Without paging nothing is paged": changed("08.2", ("if paged and", "if")),
        "from one tensor into the next": changed("08.2", (
            "    return total, in_pages",
            "    blocks = [numbers for numbers in sizes if bits == 8 and numbers >= 4096]\n"
            "    total -= sum(8 * math.ceil(numbers / 256) for numbers in blocks)\n"
            "    return total + 8 * math.ceil(sum(blocks) / 256), in_pages")),
    },
    "08.3": {
        "Only one of the two paths": changed("08.3", ("past_codes + low @ lora_A", "past_codes")),
        "The low-rank path is scaled": changed("08.3", ("grad_y @ lora_B * scaling", "grad_y @ lora_B")),
        "without transposing": changed("08.3", ("numbers.to(compute)).to", "numbers.to(compute).T).to")),
        "scaling is applied once": changed("08.3", ("lora_B * scaling", "lora_B * scaling * scaling")),
        "The order is x, A, B": changed("08.3", ("low.T @ x, grad_y.T @ (x @ lora_A.T) * scaling",
                                                 "grad_y.T @ (x @ lora_A.T) * scaling, low.T @ x")),
        "A is (rank, in)": changed("08.3", ("low.T @ x,", "(low.T @ x).T,")),
        "scaling stands in the gradient of B": changed("08.3", ("lora_A.T) * scaling", "lora_A.T)")),
        "B is (out, rank)": changed("08.3", ("grad_y.T @ (x @ lora_A.T) * scaling",
                                             "(grad_y.T @ (x @ lora_A.T) * scaling).T")),
        "rounded to the type of `compute` before": changed("08.3", (
            "(grad_y.to(compute) @ numbers.to(compute)).to(x.dtype)", "grad_y @ numbers")),
        "The gradient of x has the type of x": changed("08.3", (
            "past_codes + low @ lora_A", "past_codes.to(compute) + (low @ lora_A).to(compute)")),
        "A and B stay in float32": changed("08.3", ("low = grad_y @ lora_B * scaling",
                                                    "low = (grad_y.to(compute) @ lora_B.to(compute)).to(x.dtype) "
                                                    "* scaling")),
        "Both sides of a product have one type": changed("08.3", ("numbers.to(compute)", "numbers")),
    },
    "08.4": {
        "less the base": changed("08.4", ("through(base + update) - base", "update")),
        "number by number, added up": changed("08.4", ("(change * update).sum()", "change.sum()")),
        "not by those of the change": changed("08.4", ("(update * update).sum()", "(change * change).sum()")),
        "Divide by the sum of the update's squares": changed("08.4", (
            "((change * update).sum() / size)", "(change * update).mean()")),
        "Return two numbers": changed("08.4", ("return share, ", "return share and ")),
        "not a count": changed("08.4", (".double().mean().item()", ".sum().item()")),
        "0.4 does not reach": changed("08.4", ("(change != 0)", "(update != 0)")),
        "The order is: share of the update": changed("08.4", (
            "share, (change != 0).double().mean().item()", "(change != 0).double().mean().item(), share")),
        "nothing of it is lost: 1.0": changed("08.4", ("if size > 0 else 1.0", "if size > 0 else 0.0")),
        "0/0 is no number": changed("08.4", (" if size > 0 else 1.0", "")),
        "not the update alone": changed("08.4", ("through(base + update) - base", "through(update)")),
        "numbers of Python": changed("08.4", (".double().mean().item()", ".double().mean()")),
        "work on a copy": changed("08.4", ("through(base + update)", "through(base.add_(update))"),
                                    (" - base", " - (base - update)")),
        "without an update of its own": changed("08.4", ("(change != 0)", "(change * update > 0)")),
    },
    "08.5": {
        "what the codes lost: W − Q": changed("08.5", ("torch.linalg.svd(weight - base", "torch.linalg.svd(0 * base")),
        "Return three tensors": changed("08.5", ("best = base, root[:, None]", "best = root[:, None]")),
        "The order is: numbers of the codes, A, B": changed("08.5", (
            "root[:, None] * right[:rank], left[:, :rank] * root / scaling",
            "left[:, :rank] * root / scaling, root[:, None] * right[:rank]")),
        "Cut off after the rank": changed("08.5", ("root[:, None] * right[:rank]", "right * sizes.sqrt()[:, None]"),
                                          ("left[:, :rank] * root", "left * sizes.sqrt()")),
        "divide B (or A) by it": changed("08.5", (" / scaling", "")),
        "not both factors": changed("08.5", ("root[:, None] * right[:rank],",
                                             "root[:, None] * right[:rank] / scaling,")),
        "keeps the largest singular values": changed("08.5", ("[:, :rank]", "[:, -rank:]"), ("sizes[:rank]",
                                                              "sizes[-rank:]"), ("right[:rank]", "right[-rank:]")),
        "this is the first round's": changed("08.5", ("through(weight - low)", "through(weight)")),
        "This is the last round's": changed("08.5", ("if error < smallest:", "if True:")),
        "One round makes codes once": changed("08.5", ("range(rounds)", "range(rounds + 1)")),
        "So many rounds": changed("08.5", ("range(rounds)", "range(rounds - 1 or 1)")),
        "within the rounds BA is taken as it is": changed("08.5", (
            "low = left[:, :rank] * sizes[:rank] @ right[:rank]",
            "low = left[:, :rank] * sizes[:rank] @ right[:rank] / scaling")),
        "work on a copy": changed("08.5", ("error = (weight - base - low).norm().item()",
                                                   "error = (weight - base - low).norm().item()\n"
                                                   "        weight += 0.0 * low + 1e-9 + weight.abs() * 1e-6")),
        "not by the largest error": changed("08.5", (".norm().item()", ".abs().max().item()")),
    },
    "08.6": {
        "it ends at `outputs`": changed("08.6", ("range(0, outputs, step)", "range(0, outputs - step + 1, step)")),
        "up to, but without": changed("08.6", ("rows_of(first, min(first + step, outputs))",
                                               "rows_of(first, first)")),
        "stand beside each other": changed("08.6", ("torch.cat(parts, -1)", "torch.cat(parts, 0)")),
        "in the order of their rows": changed("08.6", ("torch.cat(parts, -1)", "torch.cat(parts[::-1], -1)")),
        "the short one at the end": changed("08.6", ("range(0, ctx.outputs, ctx.step)",
                                                     "range(0, ctx.outputs - ctx.step + 1, ctx.step)")),
        "Add the gradients of all slices up": changed("08.6", ("grad_x = grad_x + grad_y", "grad_x = grad_y")),
        "backward returns four values": changed("08.6", ("return grad_x, None, None, None", "return grad_x")),
        "never for all of them": changed("08.6", ("range(0, outputs, step)", "range(0, outputs, outputs)"),
                                         ("first + step", "first + outputs")),
        "made once more in backward": changed(
            "08.6", ("ctx.rows_of, ctx.outputs, ctx.step = rows_of, outputs, step",
                     "ctx.outputs, ctx.step, ctx.held = outputs, step, {}"),
            ("        parts = []\n", "        parts = []\n        ctx.held = {first: rows_of(first, min(first + step, "
             "outputs)) for first in range(0, outputs, step)}\n"),
            ("rows_of(first, min(first + step, outputs)).to(x.dtype)", "ctx.held[first].to(x.dtype)"),
            ("ctx.rows_of(first, last)", "ctx.held[first]")),
        "slice the last one": changed("08.6", ("grad_y[..., first:last]", "grad_y[:, first:last]")),
        "Rows come in a type of their own": changed("08.6", (".to(x.dtype)", "")),
        "An earlier slice is still held": changed("08.6", ("        parts = []\n", "        parts, held = [], []\n"),
                                                  ("            parts.append(x @ rows_of(first, min(first + step, "
                                                   "outputs)).to(x.dtype).T)",
                                                   "            held.append(rows_of(first, min(first + step, outputs)))"
                                                   "\n            parts.append(x @ held[-1].to(x.dtype).T)")),
        "keep no tensor at all": changed("08.6", ("        parts = []\n",
                                                  "        parts = []\n        ctx.save_for_backward(x)\n")),
        "as the weight is frozen": changed("08.6", ("        parts = []\n",
                                                    "        parts = []\n        ctx.kept = {'x': [x]}\n")),
    },
}

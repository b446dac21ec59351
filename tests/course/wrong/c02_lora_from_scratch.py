"""Wrong answers to the exercises of lesson 02, by exercise and by what their hint must say."""

_MISTAKES = {
    "02.1": {
        "Energy is the square": "first(s.cumsum(0) / s.sum())",
        "One too few": "first((s ** 2).cumsum(0) / (s ** 2).sum()) - 1",
        "One too many": "first((s ** 2).cumsum(0) / (s ** 2).sum()) + 1",
        "This adds the smallest first": "first((s.flip(0) ** 2).cumsum(0) / (s ** 2).sum())",
        "how many values are large": "int((s >= share * s[0]).sum())",
        "of the whole matrix, not of its largest": "first((s ** 2).cumsum(0) / s[0] ** 2)",
        "the diagonal is not the singular values": "first((update.diagonal() ** 2).cumsum(0) / (update ** 2).sum())",
        "They are no columns' own energies": "first((update ** 2).sum(0).sort(descending=True)[0].cumsum(0)"
                                     " / (update ** 2).sum())",
        "An update of zeros": "first((s ** 2).cumsum(0) / (s ** 2).sum(), zero=1)",
    },
    "02.2": {
        "This counts the layer's own weights": "min(budget // sum(o * i for o, i in shapes), side)",
        "Round down": "min(math.ceil(budget / both), side)",
        "A rank is a whole number": "min(budget / both, side)",
        "adds nothing": "budget // both",
        "the smallest side of any layer": "min(budget // both, max(min(shape) for shape in shapes))",
        "Count every layer": "min(budget // sum(shapes[0]), side)",
        "A has rank x in numbers and B has out x rank": "min(budget // sum(o for o, i in shapes), side)",
        "of the smaller sides alone": "min(budget // sum(min(shape) for shape in shapes), side)",
        "Not even rank 1 fits": "max(1, min(budget // both, side))",
    },
    "02.3": {
        "is no name of a module here": "[p for p in paths if layer(p) in last and any(p.endswith(n) for n in names)]",
        "stands in the middle of a path": "[p for p in paths if layer(p) in last and set(names) & set(p.split('.'))]",
        "Compare layers as numbers": "[p for p in paths if str(layer(p)) in sorted(map(str, layers))[len(layers) - k:]"
                                     " and fits(p)]",
        "k = 0 asks for no layer": "[p for p in paths if layer(p) in layers[-k:] and fits(p)]",
        "These are the first layers": "[p for p in paths if layer(p) in layers[:k] and fits(p)]",
        "in the order of the model": "[p for n in names for p in paths if layer(p) in last and is_called(p, n)]",
        "stands in no layer": "[p for p in paths if (layer(p) is None or layer(p) in last) and fits(p)]",
        "A name that no module has": "[p for p in paths if layer(p) in last and fits(p)]",
        "has all its layers": "[p for p in paths if layer(p) in layers[len(layers) - k:] and fits(p)]",
    },
    "02.4": {
        "alpha/rank is missing": "table[ids] + lora_A.T[ids] @ lora_B.T",
        "The row of the table is missing": "alpha / len(lora_A) * (lora_A.T[ids] @ lora_B.T)",
        "The tokens are the columns of A": "table[ids] + alpha / len(lora_A) * (lora_A[ids] @ lora_B.T)",
        "ids may have any shape": "torch.stack([table[i] + alpha / len(lora_A) * lora_B @ lora_A[:, i] for i in ids])",
        "No gradient reaches A": "table[ids] + (alpha / len(lora_A) * (lora_A.T[ids] @ lora_B.T)).detach()",
        "divides by the rank": "table[ids] + alpha / lora_A.shape[1] * (lora_A.T[ids] @ lora_B.T)",
        "the whole table": "(table + alpha / len(lora_A) * (lora_B @ lora_A).T)[ids]",
    },
    "02.5": {
        "alpha/rank is missing": "weight + lora_B @ lora_A",
        "The rank is the number of rows of A": "weight + T(alpha / lora_A.shape[1] * (lora_B @ lora_A))",
        "The addition alone": "T(scaling * (lora_B @ lora_A)).to(weight.dtype)",
        "laid out as (in, out)": "(weight + (scaling * lora_B @ lora_A).reshape(weight.shape)).to(weight.dtype)",
        "divides by the root of the rank": "(weight.float() + T(alpha / lora_A.shape[0] * (lora_B @ lora_A)))"
                                           ".to(weight.dtype)",
        "work on a copy": "weight.add_(T(scaling * (lora_B @ lora_A)))",
        "Add first and round once": "weight + T(scaling * (lora_B @ lora_A)).to(weight.dtype)",
        "in the dtype of the weight": "weight + T(scaling * (lora_B @ lora_A))",
        "Taken away": "(weight.float() - T(scaling * (lora_B @ lora_A))).to(weight.dtype)",
    },
    "02.6": {
        "x also reaches the output through A and B": "grad @ weight, s * (grad @ lora_B).T @ x, s * grad.T @ low",
        "x also reaches the output through W": "whole - grad @ weight, s * (grad @ lora_B).T @ x, s * grad.T @ low",
        "scaling is missing in the gradient of A": "whole, (grad @ lora_B).T @ x, s * grad.T @ low",
        "scaling is missing in the gradient of B": "whole, s * (grad @ lora_B).T @ x, grad.T @ low",
        "scaling is missing in the gradient of x": "grad @ weight + grad @ lora_B @ lora_A,"
                                                   " s * (grad @ lora_B).T @ x, s * grad.T @ low",
        "shaped as A is": "whole, s * x.T @ (grad @ lora_B), s * grad.T @ low",
        "shaped as B is": "whole, s * (grad @ lora_B).T @ x, s * low.T @ grad",
        "The order is": "s * (grad @ lora_B).T @ x, s * grad.T @ low, whole",
        "mean over tokens": "whole, s * (grad @ lora_B).T @ x / len(x), s * grad.T @ low / len(x)",
        "scaling counts once": "whole, s * s * (grad @ lora_B).T @ x, s * s * grad.T @ low",
    },
    "02.7": {
        "The first rows are not the best": "lora_A[:rank], lora_B[:, :rank]",
        "The roots of the singular values belong": "right[:rank] @ q_in.T, q_out @ left[:, :rank]",
        "stand in one factor alone": "right[:rank] @ q_in.T, q_out @ left[:, :rank] * sizes[:rank]",
        "Both factors hold the whole": "w * (right[:rank] @ q_in.T), q_out @ left[:, :rank] * w.T",
        "as large as the layer": "large()",
        "A comes first": "(q_out @ left[:, :rank]) * half, half[:, None] * (right[:rank] @ q_in.T)",
        "of (rank, in)": "(half[:, None] * (right[:rank] @ q_in.T)).T, ((q_out @ left[:, :rank]) * half).T",
        "These are the smallest": "sizes[-rank:].sqrt()[:, None] * (right[-rank:] @ q_in.T),"
                                  " (q_out @ left[:, -rank:]) * sizes[-rank:].sqrt()",
    },
}
_BODIES = {
    "02.1": """
import torch
def rank_for_energy(update, share):
    update = update.double()
    s = torch.linalg.svdvals(update)
    def first(kept, zero=0):
        if not update.any():
            return zero
        return next((place + 1 for place, one in enumerate(kept) if one >= share), len(kept))
    return {}
""",
    "02.2": """
import math
def largest_rank(shapes, budget):
    both = sum(o + i for o, i in shapes)
    side = min(min(shape) for shape in shapes)
    return {}
""",
    "02.3": """
def in_last_layers(paths, names, k):
    def layer(path):
        return next((int(part) for part in path.split(".") if part.isdigit()), None)
    def is_called(path, name):
        return path == name or path.endswith("." + name)
    def fits(path):
        return any(is_called(path, name) for name in names)
    CHECK
    layers = sorted({layer(path) for path in paths} - {None})
    last = layers[max(0, len(layers) - k):]
    return {}
""",
    "02.4": """
import torch
def embedding_with_lora(ids, table, lora_A, lora_B, alpha):
    return {}
""",
    "02.5": """
import math
import torch
def merged(weight, lora_A, lora_B, alpha, use_rslora=False, transposed=False):
    scaling = alpha / (math.sqrt(lora_A.shape[0]) if use_rslora else lora_A.shape[0])
    def T(addition):
        return addition.T if transposed else addition
    return {}
""",
    "02.6": """
def lora_gradients(x, weight, lora_A, lora_B, scaling, grad):
    s, low = scaling, x @ lora_A.T
    whole = grad @ weight + s * grad @ lora_B @ lora_A
    return {}
""",
    "02.7": """
import torch
def smaller_adapter(lora_A, lora_B, rank):
    q_out, r_out = torch.linalg.qr(lora_B)
    q_in, r_in = torch.linalg.qr(lora_A.T)
    left, sizes, right = torch.linalg.svd(r_out @ r_in.T)
    half = sizes[:rank].sqrt()
    w = sizes[:rank, None]
    def large():
        u, s, v = torch.linalg.svd(lora_B @ lora_A, full_matrices=False)
        return s[:rank].sqrt()[:, None] * v[:rank], u[:, :rank] * s[:rank].sqrt()
    return {}
""",
}
_REFUSES = """for name in names:
        if not any(CALLED for path in paths):
            raise ValueError(f'what is {name}?')"""


def _source(exercise: str, hint: str, mistake: str) -> str:
    refuses = "pass" if hint == "A name that no module has" else _REFUSES
    called = "path.endswith(name)" if hint == "is no name of a module here" else "is_called(path, name)"
    source = _BODIES[exercise].replace("return {}", f"return {mistake}")
    return source.replace("CHECK", refuses).replace("CALLED", called)


WRONG = {exercise: {hint: _source(exercise, hint, mistake) for hint, mistake in mistakes.items()}
         for exercise, mistakes in _MISTAKES.items()}

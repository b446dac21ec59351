"""The official answers to the exercises of lesson 02, each as it stands in the notebook in place of its stub."""

import math

import torch


def rank_for_energy(update, share):
    if not update.any():
        return 0
    energy = torch.linalg.svdvals(update) ** 2  # largest first
    kept = energy.cumsum(0) / energy.sum()
    return int((kept < share).sum()) + 1


def largest_rank(shapes, budget):
    numbers_per_rank = sum(out_features + in_features for out_features, in_features in shapes)
    smallest_side = min(min(shape) for shape in shapes)
    return min(budget // numbers_per_rank, smallest_side)


def in_last_layers(paths, names, k):
    def is_called(path, name):
        return path == name or path.endswith("." + name)

    def layer_of(path):
        return next((int(part) for part in path.split(".") if part.isdigit()), None)

    for name in names:
        if not any(is_called(path, name) for path in paths):
            raise ValueError(f"no module is called {name}")
    layers = sorted({layer_of(path) for path in paths} - {None})
    last = layers[max(0, len(layers) - k):]  # layers[-k:] would be all of them for k = 0
    return [path for path in paths if layer_of(path) in last and any(is_called(path, name) for name in names)]


def embedding_with_lora(ids, table, lora_A, lora_B, alpha):
    low = lora_A.T[ids]  # (..., rank): looking up a token is a product with a one-hot vector
    return table[ids] + (alpha / lora_A.shape[0]) * (low @ lora_B.T)


def merged(weight, lora_A, lora_B, alpha, use_rslora=False, transposed=False):
    rank = lora_A.shape[0]
    scaling = alpha / (math.sqrt(rank) if use_rslora else rank)
    addition = scaling * (lora_B @ lora_A)  # (out, in)
    if transposed:
        addition = addition.T
    return (weight + addition).to(weight.dtype)  # the sum has the finer of the two types


def lora_gradients(x, weight, lora_A, lora_B, scaling, grad):
    low = x @ lora_A.T  # (tokens, rank)
    grad_low = scaling * (grad @ lora_B)  # (tokens, rank)
    grad_x = grad @ weight + grad_low @ lora_A
    return grad_x, grad_low.T @ x, scaling * (grad.T @ low)


def smaller_adapter(lora_A, lora_B, rank):
    basis_out, core_out = torch.linalg.qr(lora_B)  # (out, r), (r, r)
    basis_in, core_in = torch.linalg.qr(lora_A.T)  # (in, r), (r, r)
    left, sizes, right = torch.linalg.svd(core_out @ core_in.T)  # of (r, r), and BA = basis_out · it · basis_in.T
    half = sizes[:rank].sqrt()
    return half[:, None] * (right[:rank] @ basis_in.T), (basis_out @ left[:, :rank]) * half


EQUIVALENT = {
    "02.1": {
        "energy = torch.linalg.svdvals(update) ** 2 -> energy = -torch.linalg.svdvals(update) ** 2":
            "the sign cancels where shares are taken",
        "kept = energy.cumsum(0) / energy.sum() -> kept = energy.cumsum(-1) / energy.sum()": "there is one dimension",
    },
    "02.3": {
        "return path == name or path.endswith('.' + name) -> return -(path == name or path.endswith('.' + name))":
            "-True is as true as True",
    },
    "02.5": {
        "return (weight + addition).to(weight.dtype) -> return (weight + addition).to(weight)":
            "to(weight) takes its dtype, and its device, on which the sum is anyway",
    },
    "02.7": {
        "half = sizes[:rank].sqrt() -> half = -sizes[:rank].sqrt()": "both factors change sign, their product does not",
        "basis_out, core_out = torch.linalg.qr(lora_B) -> basis_out, core_out = torch.qr(lora_B)":
            "the older name of the same function",
        "basis_in, core_in = torch.linalg.qr(lora_A.T) -> basis_in, core_in = torch.qr(lora_A.T)":
            "the older name of the same function",
    },
}

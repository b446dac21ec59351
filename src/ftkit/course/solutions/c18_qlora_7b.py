"""The official answers to the exercises of lesson 18, each as it stands in the notebook in place of its stub."""

import itertools

import torch


def on_disk(parameters, adapted, rank, tasks):
    adapter = sum(4 * rank * (inside + outside) for inside, outside in adapted)
    merged = 2 * parameters
    return merged + tasks * adapter, tasks * merged


def names_to_adapt(modules, stack, layers):
    found = {}
    for path, kind in modules:
        if "Linear" in kind and path.startswith(f"{stack}."):
            layer, _, name = path.removeprefix(f"{stack}.").partition(".")
            found.setdefault(name.split(".")[-1], set()).add(int(layer))
    return [name for name, places in found.items() if places == set(range(layers))]


def faults_of(ids, labels, prompt_ids, end_id):
    faults = []
    if ids[:len(prompt_ids)] != prompt_ids:
        faults.append("prompt differs")
    trained = [place for place, label in enumerate(labels) if label != -100]
    if not trained:
        return [*faults, "nothing trained"]
    if any(labels[place] != ids[place] for place in trained):
        faults.append("wrong labels")
    if trained[0] < len(prompt_ids):
        faults.append("prompt trained")
    if labels[trained[-1]] != end_id:
        faults.append("end not trained")
    return faults


def fewest_changes(needs, settings, steps, card_bytes):
    for count in range(len(steps) + 1):
        for chosen in itertools.combinations(range(len(steps)), count):
            tried = dict(settings)
            for place in chosen:
                tried |= steps[place]
            if needs(tried) <= card_bytes:
                return list(chosen)
    return None


def loss_in_chunks(states, head, targets, chunk):
    total, gradient = 0.0, torch.zeros_like(states)
    for start in range(0, len(states), chunk):
        part = slice(start, start + chunk)
        shares = (states[part] @ head.T).log_softmax(-1)  # (chunk, vocabulary)
        rows = torch.arange(len(shares))
        total -= shares[rows, targets[part]].sum().item()
        pull = shares.exp()
        pull[rows, targets[part]] -= 1
        gradient[part] = pull @ head
    return total / len(states), gradient / len(states)


_MORE = "there is no set of more places than there are"
EQUIVALENT = {
    "18.4": {
        "for count in range(len(steps) + 1): -> for count in range(len(steps) + 1 + 1):": _MORE,
        "for count in range(len(steps) + 1): -> for count in range(len(steps) + 2):": _MORE,
        "return None -> pass": "a function that ends returns None",
    },
    "18.5": {
        "total, gradient = (0.0, torch.zeros_like(states)) -> total, gradient = (0.0, torch.ones_like(states))":
            "every row is assigned before the gradient is returned",
        "shares = (states[part] @ head.T).log_softmax(-1) -> shares = (states[part] @ head.T).log_softmax(1)":
            "of two dimensions 1 is the last one",
    },
}

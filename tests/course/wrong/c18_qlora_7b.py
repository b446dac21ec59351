"""Known wrong answers to the exercises of lesson 18: by exercise, the hint each must get and its source.

A wrong answer is the official one with a few words of it changed, so that what is wrong is what is shown.
"""

from ftkit.course.catalogue import solution_source

HEAD = "import itertools\nimport torch\n\n\n"


def changed(exercise, *pairs):
    """The official answer with pieces of its source replaced, each of them once or more."""
    source = solution_source(exercise)
    for old, new in pairs:
        assert old in source, f"{exercise}: {old}"
        source = source.replace(old, new)
    return HEAD + source


WRONG = {
    "18.1": {
        "Each task has an adapter of its own": changed("18.1", ("tasks * adapter", "adapter")),
        "the base lies beside it": changed("18.1", ("merged + tasks * adapter", "tasks * adapter")),
        "The base is stored once, for all": changed("18.1", ("merged + tasks * adapter", "tasks * (merged + adapter)")),
        "store one for each": changed("18.1", ("tasks * merged", "merged")),
        "takes no room of its own": changed("18.1", ("tasks * merged", "tasks * (merged + adapter)")),
        "Adapters are stored in float32": changed("18.1", ("4 * rank", "2 * rank")),
        "two bytes a number": changed("18.1", ("2 * parameters", "4 * parameters")),
        "add, do not multiply": changed("18.1", ("(inside + outside)", "(inside * outside)")),
        "These are numbers": changed("18.1", ("4 * rank", "rank")),
        "B has as many rows": changed("18.1", ("(inside + outside)", "inside")),
        "A has as many columns": changed("18.1", ("(inside + outside)", "outside")),
    },
    "18.2": {
        "lm_head stands in no layer": HEAD + (
            "def names_to_adapt(modules, stack, layers):\n"
            "    return list(dict.fromkeys(path.split('.')[-1] for path, kind in modules if 'Linear' in kind))\n"),
        "Only kinds that have Linear": changed("18.2", ('"Linear" in kind and ', "")),
        "A name is wanted once": HEAD + (
            "def names_to_adapt(modules, stack, layers):\n"
            "    return [path.split('.')[-1] for path, kind in modules\n"
            "            if 'Linear' in kind and path.startswith(stack + '.')]\n"),
        "A list is wanted, in the model's own order": changed("18.2", (
            "[name for name, places in found.items() if places == set(range(layers))]",
            "{name for name, places in found.items() if places == set(range(layers))}")),
        "The last part of the path": changed("18.2", ('name.split(".")[-1]', "name")),
        "The order is that in which": changed("18.2", ("return [", "return sorted([", ), ("(range(layers))]",
                                                                                         "(range(layers))])")),
        "a name has to be in every layer": changed("18.2", (" if places == set(range(layers))", "")),
        "net.hidden is another path": changed("18.2", (
            'path.startswith(f"{stack}.")', "path.startswith(stack)"), (
            'path.removeprefix(f"{stack}.").partition(".")',
            'path.removeprefix(stack).lstrip("iden.").partition(".")'), (
            "places == set(range(layers))", "0 in places")),
        "Linear4bit is a linear module": changed("18.2", ('"Linear" in kind', 'kind.endswith("Linear")')),
        "FalconLinear and Linear4bit": changed("18.2", ('"Linear" in kind', 'kind == "Linear"')),
        "two is missing in layer 11": changed("18.2", ("places == set(range(layers))",
                                                          "len(places) >= min(layers, 11)")),
        "look at which layers have it": HEAD + (
            "def names_to_adapt(modules, stack, layers):\n"
            "    found = [path.split('.')[-1] for path, kind in modules\n"
            "             if 'Linear' in kind and path.startswith(stack + '.')]\n"
            "    return [name for name in dict.fromkeys(found) if found.count(name) == layers]\n"),
        "skip is no linear module in layer 1": HEAD + (
            "def names_to_adapt(modules, stack, layers):\n"
            "    inside = [(path.split('.'), kind) for path, kind in modules if path.startswith(stack + '.')]\n"
            "    places, place = {}, len(stack.split('.'))\n"
            "    for parts, kind in inside:\n"
            "        places.setdefault(parts[-1], set()).add(parts[place])\n"
            "    found = dict.fromkeys(parts[-1] for parts, kind in inside if 'Linear' in kind)\n"
            "    return [name for name in found if len(places[name]) == layers]\n"),
        "it has to begin so": changed("18.2", ('path.startswith(f"{stack}.")', 'f"{stack}." in path'), (
            'path.removeprefix(f"{stack}.")', 'path.partition(f"{stack}.")[2]')),
    },
    "18.3": {
        "The record has to begin with the ids": changed("18.3", ("ids[:len(prompt_ids)] != prompt_ids", "False")),
        "-100 says: no loss here": changed("18.3", ('return [*faults, "nothing trained"]', "return faults")),
        "look first": changed("18.3", ("    if not trained:\n        return [*faults, \"nothing trained\"]\n", "")),
        "no label there": changed("18.3", ("trained[0] < len(prompt_ids)", "False")),
        "has to be end_id": changed("18.3", ("labels[trained[-1]] != end_id", "False")),
        "the model shifts by itself": changed("18.3", (
            "any(labels[place] != ids[place] for place in trained)", "False")),
        "All faults, not the first alone": changed("18.3", ("return faults", "return faults[:1]")),
        "All faults, not the last alone": changed("18.3", ("return faults", "return faults[-1:]")),
        "In the order of the text": changed("18.3", ("    return faults", "    return sorted(faults)")),
        "Padding carries no loss": changed("18.3", ("labels[trained[-1]] != end_id", "labels[-1] != end_id")),
        "not one of them": changed("18.3", ("labels[trained[-1]] != end_id", "end_id not in labels")),
        "compare place by place": changed("18.3", ("ids[:len(prompt_ids)] != prompt_ids",
                                                   "sorted(ids[:len(prompt_ids)]) != sorted(prompt_ids)")),
        "at its first place": changed("18.3", ("ids[:len(prompt_ids)] != prompt_ids",
                                               "str(prompt_ids)[1:-1] not in str(ids)")),
        "whatever the id at its place is": changed("18.3", ("labels[trained[-1]] != end_id",
                                                            "ids[trained[-1]] != end_id")),
        "the last one, too": changed("18.3", ("for place in trained)", "for place in trained[:-1])")),
    },
    "18.4": {
        "no step at all is the empty list": changed("18.4", ("range(len(steps) + 1)", "range(1, len(steps) + 1)"), (
            "return list(chosen)", "return None if needs(settings) <= card_bytes else list(chosen)")),
        "as many bytes as the card has": changed("18.4", ("<= card_bytes", "< card_bytes")),
        "The places of the steps are wanted, not the steps": changed("18.4", (
            "return list(chosen)", "return [steps[place] for place in chosen]")),
        "not the settings": changed("18.4", ("return list(chosen)", "return tried if chosen else []")),
        "The first step need not be taken": HEAD + (
            "def fewest_changes(needs, settings, steps, card_bytes):\n"
            "    for count in range(len(steps) + 1):\n"
            "        tried = dict(settings)\n"
            "        for step in steps[:count]:\n"
            "            tried |= step\n"
            "        if needs(tried) <= card_bytes:\n"
            "            return list(range(count))\n"),
        "[0, 1] is enough as well": changed("18.4", (
            "in itertools.combinations(range(len(steps)), count)",
            "in list(itertools.combinations(range(len(steps)), count))[::-1]")),
        "All steps together fit here": changed("18.4", ("range(len(steps) + 1)", "range(len(steps))")),
        "All steps together still do not fit": changed("18.4", ("return None", "return list(range(len(steps)))")),
        "An empty list says that it fits": changed("18.4", ("return None", "return []")),
        "what a later one sets, holds": changed("18.4", ("tried |= steps[place]", "tried = steps[place] | {"
                                                         "name: value for name, value in tried.items() "
                                                         "if name not in steps[place] or value != settings[name]}")),
        "try every choice": changed("18.4", (
            "    for count", "    together = dict(settings)\n    for step in steps:\n        together |= step\n"
            "    if needs(together) > card_bytes:\n        return None\n    for count")),
    },
    "18.5": {
        "not the sum": changed("18.5", ("total / len(states)", "total")),
        "negative of the log": changed("18.5", ("total -= ", "total += ")),
        "the last one alone": changed("18.5", ("total -= ", "total = -"), ("total / len(states)", "total / chunk")),
        "the first one alone": changed("18.5", ("range(0, len(states), chunk)", "[0]"), ("total / len(states)",
                                                                                        "total / chunk")),
        "means of chunks are not to be added": changed("18.5", ("total / len(states)", "total / chunk")),
        "Return a pair": changed("18.5", ("return total / len(states), gradient / len(states)",
                                          "return total / len(states)")),
        "its gradient is divided": changed("18.5", ("gradient / len(states)", "gradient")),
        "not of a chunk's": changed("18.5", ("gradient / len(states)", "gradient / chunk")),
        "The sign": changed("18.5", ("gradient / len(states)", "-gradient / len(states)")),
        "less by one in the gradient": changed("18.5", ("        pull[rows, targets[part]] -= 1\n", "")),
        "The last chunk is a short one": changed("18.5", ("range(0, len(states), chunk)",
                                                          "range(0, len(states) - chunk + 1, chunk)"),
                                                 ("total / len(states)", "total / (len(states) // chunk * chunk)")),
        "exp of 200 overflows": changed("18.5", ("(states[part] @ head.T).log_softmax(-1)",
                                                 "((states[part] @ head.T).exp() / (states[part] @ head.T).exp()"
                                                 ".sum(-1, keepdim=True)).log()")),
        "All logits were there at once": changed("18.5", (
            "    for start", "    logits = states @ head.T\n    for start"), (
            "(states[part] @ head.T)", "logits[part]")),
        "autograd keeps the logits": HEAD + (
            "def loss_in_chunks(states, head, targets, chunk):\n"
            "    states = states.detach().requires_grad_()\n"
            "    total = 0.0\n"
            "    for start in range(0, len(states), chunk):\n"
            "        part = slice(start, start + chunk)\n"
            "        total = total + torch.nn.functional.cross_entropy(states[part] @ head.T, targets[part],\n"
            "                                                          reduction='sum')\n"
            "    loss = total / len(states)\n"
            "    gradient, = torch.autograd.grad(loss, states, retain_graph=True)\n"
            "    return loss, gradient\n"),
        "Be done with a chunk before the next": HEAD + (
            "def loss_in_chunks(states, head, targets, chunk):\n"
            "    states, total = states.detach().requires_grad_(), 0.0\n"
            "    for part, wanted in zip(states.split(chunk), targets.split(chunk)):\n"
            "        total = total + torch.nn.functional.cross_entropy(part @ head.T, wanted, reduction='sum')\n"
            "    loss = total / len(states)\n"
            "    return loss.item(), torch.autograd.grad(loss, states)[0]\n"),
    },
}

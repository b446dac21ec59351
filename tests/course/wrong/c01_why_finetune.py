"""Wrong answers to the exercises of lesson 01, by exercise and by what their hint must say."""

_MISTAKES = {
    "01.1": {
        "These are nats": "mean_loss * tokens / len(text.encode())",
        "Every token costs bits": "mean_loss / math.log(2) / len(text.encode())",
        "These are bits per token": "mean_loss / math.log(2)",
        "This is the perplexity": "2 ** (mean_loss / math.log(2))",
        "These are the bits of the whole text": "mean_loss * tokens / math.log(2)",
        "Spaces and line breaks are bytes": "mean_loss * tokens / math.log(2) / len(text.strip().encode())",
        "an emoji 4": "mean_loss * tokens / math.log(2) / (len(text) + 2 * sum(ord(c) > 0x2e7f for c in text) - 2 * "
                      "('é' in text))",
        "takes 3 bytes in UTF-8": "mean_loss * tokens / math.log(2) / len(text)",
    },
    "01.2": {
        "Both are marsh fever": "[r for r in ordered if r['input'] != asked][:k]",
        "One is missing": "first_of_each([r for r in ordered if r['input'] != asked][:k])",
        "These overlap least": "first_of_each([r for r in ordered[::-1] if r['input'] != asked])[:k]",
        "The question itself is among the examples": "first_of_each(ordered)[:k]",
        "Right ones, wrong order": "first_of_each([r for r in ordered if r['input'] != asked])[:k][::-1]",
        "overlaps little, and is still wanted":
            "[r for r in first_of_each([r for r in ordered if r['input'] != asked]) if overlap(asked, r['input'])][:k]",
        "whatever their overlap": "first_of_each([r for r in ordered if overlap(asked, r['input']) < 1])[:k]",
        "not all others of its condition": "first_of_each([r for r in ordered if r['condition'] not in "
                                           "[s['condition'] for s in store if s['input'] == asked]])[:k]",
        "fewer conditions than k": "[first_of_each([r for r in ordered if r['input'] != asked])[n] for n in range(k)]",
    },
    "01.3": {
        "This is the mean over tokens": "at(1)[0].mean()",
        "The logits at a place predict the next token": "means(0).mean()",
        "Shifted twice": "means(2).mean()",
        "This is the sum over records": "means(1).sum()",
        "by its own number of label tokens": "at(1)[0].sum() / len(labels)",
        "not by the width of the row": "torch.stack([one.sum() / (labels.shape[1] - 1) if len(one) < 2 else one.mean() "
                                       "for one in at(1)[1]]).mean()",
        "A place without a label came in": "means(1).mean() * float('nan')",
        "exp of such a logit is infinite": "torch.stack([(-(l[:-1].exp() / l[:-1].exp().sum(-1, keepdim=True)).log()"
                                           "[torch.arange(len(t) - 1)[t[1:] >= 0], t[1:][t[1:] >= 0]]).mean() "
                                           "for l, t in zip(logits, labels)]).mean()",
        "Is each row shifted for itself": "(lambda rolled: (torch.nn.functional.cross_entropy(logits.transpose(1, 2), "
                                          "rolled, reduction='none').sum(1) / (rolled >= 0).sum(1)).mean())"
                                          "(labels.roll(-1, 1))",
        "-100 is no token": "torch.nn.functional.one_hot(labels, 2).float().mean()",
        "No gradient reaches the logits": "torch.tensor(means(1).mean().item())",
    },
    "01.4": {
        "This is one-sided": "tail(n, min(lost, gained))",
        "Answers that stayed the same": "min(1, 2 * tail(len(before), min(lost, gained)))",
        "Near, and a rule of thumb": "math.erfc(abs(lost - gained) / math.sqrt(2 * n)) if n > 9 else "
                                     "min(1, 2 * tail(n, min(lost, gained))) if n else 1",
        "Such numbers fit no float": "min(1, 2 * sum(math.comb(n, j) * 0.5 ** n "
                                     "for j in range(min(lost, gained) + 1)))",
        "is 0 as a float": "min(1, 2 * 0.5 ** n * sum(min(math.comb(n, j), 10 ** 300) "
                           "for j in range(min(lost, gained) + 1)))",
        "This is how many were lost": "lost",
        "take the smaller of lost and gained": "min(1, 2 * tail(n, max(lost, gained)))",
        "That is the chance of exactly this split": "min(1, 2 * math.comb(n, min(lost, gained)) / 2 ** n)",
        "Gains and losses do not cancel": "2 * tail(abs(lost - gained), 0)",
        "Take the smaller of lost and gained: the test": "min(1, 2 * tail(n, gained))",
        "No chance is above 1": "2 * tail(n, min(lost, gained))",
        "Where nothing changed": "min(1, 2 * tail(n, min(lost, gained)) * n / n)",
    },
}
_BODIES = {
    "01.1": """
import math
def bits_per_byte_of(mean_loss, tokens, text):
    return {}
""",
    "01.2": """
def diverse_shots(asked, store, k, overlap):
    ordered = sorted(store, key=lambda record: overlap(asked, record["input"]), reverse=True)
    return {}
def first_of_each(records):
    return [record for place, record in enumerate(records)
            if record["condition"] not in [other["condition"] for other in records[:place]]]
""",
    "01.3": """
import torch
def record_mean_loss(logits, labels):
    def at(shift):
        width = labels.shape[1]
        chances, wanted = logits[:, :width - shift].log_softmax(-1), labels[:, shift:]
        rows = [-chances[row][wanted[row] >= 0].gather(1, wanted[row][wanted[row] >= 0][:, None])[:, 0]
                for row in range(len(labels))]
        return torch.cat(rows), rows
    def means(shift):
        return torch.stack([one.mean() for one in at(shift)[1]])
    return {}
""",
    "01.4": """
import math
def sign_test(before, after):
    lost = sum(was > now for was, now in zip(before, after))
    gained = sum(was < now for was, now in zip(before, after))
    n = lost + gained
    return {}
def tail(n, k):
    return sum(math.comb(n, j) for j in range(k + 1)) / 2 ** n
""",
}

WRONG = {exercise: {hint: _BODIES[exercise].replace("{}", mistake) for hint, mistake in mistakes.items()}
         for exercise, mistakes in _MISTAKES.items()}

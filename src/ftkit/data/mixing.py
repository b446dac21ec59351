"""General records mixed into those of a domain. Knows nothing about what either says."""

import random

from ftkit.errors import refusal


def mix(domain: list[dict], general: list[dict], share: float = 0.1, seed: int = 0, repeat: bool = False) -> list[dict]:
    """All records of the domain and as many general ones as make up the share, shuffled together.

    Each record says under `source` which of the two it came from.

    Args:
        domain: every one of them is in the result once.
        general: as many as needed are drawn from them, none twice unless `repeat` says so.
        share: of general records in the result, from 0 up to but without 1; 0.1 adds one to every nine.
        seed: of the draw and of the order.
        repeat: whether general records may come several times where there are too few; each comes once before any
            comes twice.

    Raises:
        Refusal: the share is out of range, there is nothing to draw from, or too little without repetition.

    Example:
        >>> mixed = mix([{"text": str(n)} for n in range(9)], [{"text": "a"}, {"text": "b"}])
        >>> len(mixed), sum(record["source"] == "general" for record in mixed)
        (10, 1)

    Taught in: 16_stages_and_tasks
    """
    if not 0 <= share < 1:
        raise refusal("share", "from 0 up to but without 1", share, "0.1 makes every tenth record a general one.")
    wanted = round(share / (1 - share) * len(domain))
    if wanted and not general:
        raise refusal("general", "at least one record", general, "Give general records, or take share=0.")
    if wanted > len(general) and not repeat:
        most = len(general) / (len(general) + len(domain))
        raise refusal("general", f"at least {wanted} records for a share of {share}", len(general),
                      f"Give more, take a share of {int(most * 1000) / 1000:g}, or allow repeat=True.")
    generator = random.Random(seed)
    drawn: list[dict] = []
    while len(drawn) < wanted:
        drawn += generator.sample(general, min(len(general), wanted - len(drawn)))
    mixed = [{**record, "source": name} for name, own in (("domain", domain), ("general", drawn)) for record in own]
    generator.shuffle(mixed)
    return mixed

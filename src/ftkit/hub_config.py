"""A model's config alone, by folder or by name on the hub: no weights, no tokenizer.

Knows nothing about what a config means.
"""

from pathlib import Path

from ftkit.errors import refusal
from ftkit.memory.models import read_config

REACH_S = 5  # seconds to wait for the hub's answer


def find_config(name_or_folder: str | Path) -> dict:
    """What config.json says: of a file, of a folder, of the cache, or of the hub.

    Raises:
        Refusal: it is nowhere, or the hub cannot be reached.
    """
    path = Path(name_or_folder)
    if path.exists():
        return read_config(path)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    name = str(name_or_folder)
    try:
        cached = try_to_load_from_cache(name, "config.json")
        file = cached if isinstance(cached, str) else hf_hub_download(name, "config.json", etag_timeout=REACH_S)
    except Exception as error:  # each transport has exceptions of its own
        raise refusal("model", "a name of the table, a folder, a config.json, or a name on the hub within reach", name,
                      f"The hub did not answer ({type(error).__name__}): give the model's config.json.") from error
    return read_config(file)

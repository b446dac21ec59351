"""A model's config alone, by folder or by name on the hub: no weights, no tokenizer.

Knows nothing about what a config means.
"""

from pathlib import Path

from ftkit.errors import Refusal, refusal
from ftkit.memory.models import read_config

REACH_S = 5  # seconds to wait for the hub's answer, once, before saying that there is none


def find_config(name_or_folder: str | Path) -> dict:
    """What config.json says: of a file, of a folder, of the cache, or of the hub.

    Raises:
        Refusal: it is nowhere, or the hub does not give it.
    """
    path = Path(name_or_folder)
    if path.exists() or path.is_absolute() or path.suffix == ".json":  # no name on the hub looks like the last two
        return read_config(path)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    name = str(name_or_folder)
    try:
        cached = try_to_load_from_cache(name, "config.json")
        file = cached if isinstance(cached, str) else hf_hub_download(name, "config.json", etag_timeout=REACH_S)
    except Exception as error:  # each transport has exceptions of its own
        raise not_from_hub("model", name, error, "Give the model's config.json.") from error
    return read_config(file)


def not_from_hub(what: str, name: str, error: Exception, remedy: str) -> Refusal:
    """The refusal of a name that the hub did not give: because of a licence, because it has none, or without an answer.

    Args:
        what: which argument the name stands for.
        error: what the hub's library raised.
        remedy: what to do where there is no such name, or no answer.
    """
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):  # a kind of RepositoryNotFoundError
        return refusal(what, "open to you on the hub", name,
                       "Accept its licence on its page, then run: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        return refusal(what, "a folder here or a name on the hub", name, f"Neither is there. {remedy}")
    if isinstance(error, RemoteEntryNotFoundError):
        return refusal(what, "a name on the hub with a config.json", name, f"It has none. {remedy}")
    return refusal(what, "in the cache, or the hub within reach", name,
                   f"The hub did not answer ({type(error).__name__}). {remedy}")

"""Is this config that of a causal language model which may be loaded here?

Knows nothing about weights, tokenizers or where a checkpoint comes from.
"""

from collections.abc import Mapping

from ftkit.errors import nearest, refusal

READ_FIRST = "Read the .py files in its folder first; they will run on this machine."
_TAKE = "Choose a model that writes text from left to right, such as qwen2 or llama."


def check_causal(name: str, config: Mapping, trust_remote_code: bool) -> None:
    """Nothing, if transformers loads such a model as a causal one, or code of its own does that may run.

    Args:
        name: of the model, for the sentence.
        config: what its config.json holds, with a model_type.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        Refusal: it brings code of its own and is not trusted; its family is not known; it reads in both directions, or
            has an encoder beside its decoder, of which nothing would be loaded.

    Example:
        >>> check_causal("one", {"model_type": "llama"}, trust_remote_code=False)
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    family, brings_code = config["model_type"], bool(config.get("auto_map"))
    if brings_code and trust_remote_code:
        return
    if kind := _not_causal(config):
        raise refusal(f"{name}: model_type", "a causal language model's", f"{family}, {kind}", _TAKE)
    if family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if brings_code:
        raise refusal("trust_remote_code", f"True for {name}, which brings code of its own", False, READ_FIRST)
    if family in CONFIG_MAPPING_NAMES:
        raise refusal(f"{name}: model_type", "a causal language model's", family, _TAKE)
    near = nearest(family, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    raise refusal(f"{name}: model_type", "a family that the installed transformers knows", family,
                  f"Did you mean {' or '.join(near)}?" if near else "A newer transformers may know it.")


def _not_causal(config: Mapping) -> str:
    """What a family is that transformers would load as a causal model although it is none; empty for the others."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as TWO_PARTS

    if config["model_type"] in TWO_PARTS:
        return "an encoder with a decoder"
    return "an encoder" if config["model_type"] in MASKED and not config.get("is_decoder") else ""

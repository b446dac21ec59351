"""The command `ftkit plan`: arguments, and what is printed. Knows nothing that the planner knows."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

METHODS = {"8-bit": "lora8bit", "8bit": "lora8bit", "lora-8bit": "lora8bit", "int8": "lora8bit"}
TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def add_(command: Callable) -> None:
    """Adds the command's arguments.

    Args:
        command: makes the parser of a command from its function.
    """
    it = command(plan)
    it.add_argument("--model", default="ftkit-tiny", help="a name of the table (--models lists them), a config.json, a "
                    "folder with one, or a name on the hub, of which the config alone is read")
    it.add_argument("--models", action="store_true", help="list the models of the table")
    it.add_argument("--method", default="lora", help="full, freeze, bitfit, adapter, prefix, prompt, lora (default), "
                    "qlora or lora8bit")
    it.add_argument("--rank", type=int, metavar="N", help="of LoRA (default: 8)")
    it.add_argument("--target-modules", metavar="NAME,NAME", help="where LoRA goes (default: all-linear)")
    it.add_argument("--layers", metavar="LAYERS", help="LoRA on 'all', 'first 2', 'last 6'; or with freeze how many")
    it.add_argument("-s", dest="settings", action="append", default=[], metavar="NAME=VALUE",
                    help="another setting of the method, as methods.prepare has it")
    it.add_argument("--batch", "--batch-size", dest="batch_size", type=int, default=1, help="rows of a micro-batch")
    it.add_argument("--seq-len", type=int, default=512, help="tokens of a row (default: 512)")
    it.add_argument("--label-share", type=float, default=1.0, help="share of tokens that carry loss (default: 1)")
    it.add_argument("--accumulation", type=int, default=1, help="micro-batches of a step (default: 1)")
    _add_memory_(it)
    _add_cost_(it)
    it.add_argument("--figure", metavar="FILE", help="draw the parts as a stacked bar")
    it.add_argument("--json", action="store_true", help="print the numbers as data")


def _add_memory_(it: argparse.ArgumentParser) -> None:
    it.add_argument("--precision", default="bfloat16", help="of unquantised weights: float32, bfloat16 or float16")
    it.add_argument("--mixed", help="mixed precision in bfloat16 or float16 (default: none)")
    it.add_argument("--quantization", help="of the linear layers: nf4, fp4 or int8 (default: as the method has it)")
    it.add_argument("--no-double-quant", dest="double_quant", action="store_false", help="scales in float32")
    it.add_argument("--unquantised", default="", metavar="NAME,NAME", help="linear layers that stay as they are")
    it.add_argument("--checkpointing", nargs="?", const=True, default=False, metavar="every:2",
                    help="compute activations again in the backward pass, in all layers or in every second")
    it.add_argument("--attention", default="flash", help="flash (default), efficient, math or eager")
    it.add_argument("--logits", default="labels", help="at labels (default), chunked, or all positions")
    it.add_argument("--optimizer", default="adamw", help="adamw (default), lion, sgd, adamw8bit, paged_adamw, ...")
    it.add_argument("--float32-cast", action="store_true", help="as prepare_model_for_kbit_training leaves it")
    it.add_argument("--way", default="ours", help="ours (default), or peft for LoRA as peft computes it")
    it.add_argument("--ranks", type=int, default=1, help="data-parallel processes (default: 1)")
    it.add_argument("--sharding", default="none", help="none (default), zero1, zero2 or zero3")
    it.add_argument("--gpu", metavar="NAME|GB", help="T4, V100-32, RTX-4090, A100-80, H100, ..., or gigabytes: does it "
                    "fit there")


def _add_cost_(it: argparse.ArgumentParser) -> None:
    it.add_argument("--tokens", type=float, metavar="N", help="of the whole training: hours and money")
    it.add_argument("--tokens-per-s", type=float, metavar="N", help="measured (default: from the card's rate)")
    it.add_argument("--currency", default="CNY", help="CNY (default) or USD")
    it.add_argument("--price-per-kwh", type=float, metavar="PRICE", help="your own (default: an example)")
    it.add_argument("--rent-per-hour", type=float, metavar="PRICE", help="your own (default: an example)")
    it.add_argument("--spot-discount", type=float, metavar="SHARE", help="that a spot price saves (default: 0.6)")
    it.add_argument("--prices", metavar="FILE", help="a JSON file of your own in place of the example's")
    it.add_argument("--watts", type=float, help="of the card under load (default: the table's)")


def plan(options: argparse.Namespace) -> int:
    """Say what a training will take: memory by part, whether it fits on a card, hours and money."""
    from ftkit.memory.gpus import gpu_named

    if options.models:
        print(_table_of_models())
        return 0
    name, config = _model(options.model)
    setup = _setup(options)
    gpu = gpu_named(options.gpu) if options.gpu else None
    spent = _cost(options, config, setup, gpu)
    memory, verdict = _found(config, setup, gpu, options)
    if options.figure:
        _draw(options.figure, name, setup, memory, gpu)
    if options.json:
        print(json.dumps(_record(name, setup, memory, verdict, spent), indent=1))
        return 0
    print(_shown(name, config, setup, memory, gpu))
    if verdict:
        print(_judged(verdict))
        print(_room(config, setup, verdict, options.way), end="")
    if spent:
        print(_spent(spent))
    return 0


def _found(config, setup, gpu, options: argparse.Namespace):
    """What a training takes, by the formula or counted; and whether it fits, where a card is given."""
    from ftkit.memory.fit import judge, verdict_of
    from ftkit.memory.predict import predict

    if _is_known(config):
        verdict = judge(config, setup, gpu, options.way) if gpu else None
        return verdict.memory if verdict else predict(config, setup, options.way), verdict
    from ftkit.meter.counted import count_memory

    if not options.json:
        print(f"{config.get('model_type')} is none of the planner's families: its steps are counted, about a second a "
              "layer", flush=True)
    memory = count_memory(config, setup, options.way)
    return memory, verdict_of(memory, setup, gpu) if gpu else None


def _is_known(config) -> bool:
    from ftkit.memory.families import FAMILIES

    return config.get("model_type") in FAMILIES


def _model(text: str):
    """A name to show, and a config."""
    from ftkit.errors import Refusal
    from ftkit.hub_config import find_config
    from ftkit.memory.models import model_named

    try:
        model = model_named(text)
        return model.name, model.config
    except Refusal as unknown_name:
        if "/" not in text and not text.endswith(".json"):
            from pathlib import Path

            if not Path(text).exists():
                raise unknown_name from None
        return text, find_config(text)


def _setup(options: argparse.Namespace):
    from ftkit.memory.setup import METHODS as KNOWN
    from ftkit.memory.setup import Setup

    method = METHODS.get(options.method.lower(), options.method.lower())
    given = {"rank": options.rank, "layers": _layers(options.layers, method),
             "target_modules": _names(options.target_modules)}
    settings = {name: value for name, value in given.items() if value is not None}
    settings |= {name: _value(text) for name, text in _pairs(options.settings)}
    if method not in KNOWN:
        settings = {}
    kind = TYPES.get(options.precision, options.precision)
    return Setup(method, settings, options.batch_size, options.seq_len, options.label_share, options.accumulation, kind,
                 TYPES.get(options.mixed, options.mixed), options.quantization, options.double_quant,
                 _names(options.unquantised) or (), options.checkpointing, options.attention, options.logits,
                 options.optimizer, options.float32_cast, options.ranks, options.sharding)


def _names(text: str | None):
    if not text:
        return None
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    return names[0] if names == ("all-linear",) else names


def _layers(text: str | None, method: str):
    if text is None:
        return None
    if method == "freeze" and text.isdecimal():
        return int(text)
    return tuple(int(one) for one in text.split(",")) if text.replace(",", "").isdecimal() else text


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    from ftkit.errors import refusal

    for text in texts:
        if "=" not in text:
            raise refusal("-s", "name=value", text)
    return [tuple(text.split("=", 1)) for text in texts]


def _value(text: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shown(name: str, config, setup, memory, gpu) -> str:
    from ftkit.memory_bars import text_bar
    from ftkit.tables import aligned
    from ftkit.units import bytes_to_words, count_to_words

    share = memory.trainable / memory.total
    parts = {part: size for part, size in memory.parts.items() if size} | {"CUDA": memory.cuda_bytes}
    rows = [[part, bytes_to_words(size), f"{size / memory.needed_bytes:.1%}"] for part, size in parts.items()]
    rows.append(["together", bytes_to_words(memory.needed_bytes), ""])
    return "\n".join([
        f"{name}, {setup.method}: {count_to_words(memory.trainable)} of {count_to_words(memory.total)} numbers trained "
        f"({share:.4%}; {memory.trainable:,})",
        f"weights as held: {', '.join(f'{kind} {bytes_to_words(size)}' for kind, size in memory.weights.items())}",
        f"highest in the {memory.moment}:", aligned(["part", "bytes", "share"], rows),
        text_bar(parts, gpu.memory_bytes if gpu else None),
        f"CUDA: what CUDA takes beside all tensors, a figure to allow for; batch {setup.batch_size}, "
        f"{setup.seq_len} tokens, {setup.precision}, attention {setup.attention}, logits {setup.logits}",
        *_cache(config, setup)])


def _cache(config, setup) -> list[str]:
    from ftkit.memory.counting import cache_bytes
    from ftkit.memory.shape import shape_of
    from ftkit.units import bytes_to_words

    if not _is_known(config):
        return []
    return [f"cache: none in training; for answers of as many rows and tokens "
            f"{bytes_to_words(cache_bytes(shape_of(config), setup))} of keys and values"]


def _judged(verdict) -> str:
    from ftkit.units import bytes_to_words

    gpu, lines = verdict.gpu, []
    room = f"{bytes_to_words(abs(verdict.free_bytes))} {'free' if verdict.free_bytes >= 0 else 'missing as it is'}"
    lines.append(f"{gpu.name}, {bytes_to_words(gpu.memory_bytes)}: {verdict.words}; {room}")
    for number, step in enumerate(verdict.steps, 1):
        end = "fits" if step.fits else "not yet"
        lines.append(f"  {number}. {step.name}: {bytes_to_words(step.needed_bytes)} "
                     f"(saves {bytes_to_words(step.saves_bytes)}), {end}")
    return "\n".join([*lines, *verdict.warnings])


def _room(config, setup, verdict, way: str) -> str:
    """The largest that fits, where the training does."""
    from ftkit.memory.fit import FITS, largest

    if verdict.word != FITS or not _is_known(config):
        return ""
    rows, tokens = (largest(config, setup, verdict.gpu, name, way) for name in ("batch_size", "seq_len"))
    return (f"largest batch of {setup.seq_len} tokens: {rows}; longest rows in batches of {setup.batch_size}: {tokens} "
            "tokens\n")


def _cost(options: argparse.Namespace, config, setup, gpu):
    """Hours and money, where the tokens of a training are given."""
    if options.tokens is None:
        return None
    from ftkit.errors import refusal
    from ftkit.memory.cost import cost, read_prices, throughput

    if options.tokens_per_s is None and (gpu is None or not _is_known(config)):
        raise refusal("--tokens", "given with --tokens-per-s, or with --gpu for a family that the planner knows",
                      options.tokens)
    rate = throughput(config, setup, gpu) if options.tokens_per_s is None else options.tokens_per_s
    return cost(options.tokens, rate, gpu, currency=options.currency, price_per_kwh=options.price_per_kwh,
                rent_per_hour=options.rent_per_hour, watts=options.watts, spot_discount=options.spot_discount,
                measured=options.tokens_per_s is not None,
                table=read_prices(options.prices) if options.prices else None)


def _spent(found) -> str:
    from ftkit.units import seconds_to_words

    figures = [f"time: {seconds_to_words(found.hours * 3600)}"]
    if found.kwh is not None:
        figures.append(f"electricity of the card: {found.kwh:.2f} kWh, {found.electricity:.2f} {found.currency}")
    if found.rent is not None:
        figures.append(f"rent: {found.rent:.2f} {found.currency}, at a spot price {found.spot_rent:.2f}")
    return "\n".join([*figures, found.basis])


def _record(name: str, setup, memory, verdict, spent) -> dict:
    found = {"model": name, "setup": setup.record(), "memory": asdict(memory) | {"needed_bytes": memory.needed_bytes}}
    if verdict:
        steps = [{"name": step.name, "needed_bytes": step.needed_bytes, "saves_bytes": step.saves_bytes,
                  "fits": step.fits, "setup": step.setup.record()} for step in verdict.steps]
        found["verdict"] = {"word": verdict.word, "gpu": verdict.gpu.name, "memory_bytes": verdict.gpu.memory_bytes,
                            "free_bytes": verdict.free_bytes, "steps": steps, "warnings": list(verdict.warnings)}
    return found | ({"cost": asdict(spent)} if spent else {})


def _draw(file: str, name: str, setup, memory, gpu) -> None:
    from matplotlib.figure import Figure

    from ftkit.memory_bars import stacked_bars

    figure = Figure(figsize=(9, 2.4), layout="constrained")
    parts = {part: size for part, size in memory.parts.items() if size} | {"CUDA": memory.cuda_bytes}
    stacked_bars([(setup.method, parts)], figure.subplots(), card_bytes=gpu.memory_bytes if gpu else None, title=name)
    figure.savefig(file)


def _table_of_models() -> str:
    from ftkit.memory.models import known_models
    from ftkit.tables import aligned
    from ftkit.units import count_to_words

    return aligned(["name", "on the hub", "numbers", "code", "licence", "LoRA goes on"],
                   [[model.name, model.hub, count_to_words(model.parameters), model.code, model.licence,
                     model.target_modules if isinstance(model.target_modules, str) else ", ".join(model.target_modules)]
                    for model in known_models()])

"""What a fresh process does for `checking.reload`: `python -m ftkit.merge.fresh FOLDER`.

Reads what to load and on which token ids from files in the folder, and writes what came out there. Knows nothing else.
"""

import sys
import time
from pathlib import Path

IDS, REQUEST, MADE = "ids.json", "request.json", "made.json"


def main(folder: Path) -> None:
    """Loads each model that the request names and writes its logits, in order."""
    import torch
    from safetensors.torch import save_file

    from ftkit import methods
    from ftkit.files import read_json, write_json
    from ftkit.hub import load_model

    ids, made = torch.tensor(read_json(folder / IDS)), []
    for place, one in enumerate(read_json(folder / REQUEST)):
        began_s, adapter = time.perf_counter(), one.pop("adapter")
        model, tokenizer = load_model(one.pop("model"), device="cpu", **one)
        if adapter:
            model = methods.load(model, adapter).model
        load_s = time.perf_counter() - began_s
        with torch.no_grad():
            logits = model.eval()(input_ids=ids, use_cache=False).logits.float()
        save_file({"logits": logits.contiguous()}, folder / f"{place}.safetensors")
        made.append({"load_s": load_s, "template": tokenizer.chat_template or ""})
    write_json(folder / MADE, made)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

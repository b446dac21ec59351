"""Checkpoints by folder and by name: whole ones load, every other kind is refused before anything runs."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ftkit import checkpoints, hub
from ftkit.errors import Refusal
from ftkit.progress import Lines

SIZES = dict(vocab_size=300, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=2, max_position_embeddings=64)
FAMILIES = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


def save(folder, family="qwen2", **settings):
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(["hello"], trainers.BpeTrainer(
        vocab_size=270, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    config, model = FAMILIES[family]
    torch.manual_seed(0)
    model(config(**SIZES)).save_pretrained(folder, **settings)
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """No test sees the models that this machine has in its cache, and none reaches the network."""
    for module in (huggingface_hub.constants, importlib.import_module("huggingface_hub.file_download").constants):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def unreachable(self, name, timeout):
    assert timeout <= 10
    raise ConnectionError("no route")


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if changes.get(key, "") is not None}))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_folder_loads_as_transformers_loads_it(tmp_path, family):
    folder = save(tmp_path / "model", family)
    model, tokenizer = hub.load_model(folder, device="cpu")
    theirs = FAMILIES[family][1].from_pretrained(folder)
    assert type(model) is type(theirs)
    pairs = zip(model.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.equal(ours, expected) for ours, expected in pairs)
    assert not model.training
    assert model.dtype == torch.float32
    assert tokenizer.pad_token == tokenizer.eos_token == "<|endoftext|>"
    assert len(tokenizer) == len(AutoTokenizer.from_pretrained(folder))


def test_the_type_of_the_numbers_is_the_one_asked_for(folder):
    assert hub.load_model(folder, device="cpu", dtype="bfloat16")[0].dtype == torch.bfloat16


def test_loading_leaves_progress_bars_as_they_were_and_prints_nothing(folder, capfd):
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    hub.load_model(folder, device="cpu")
    assert logging.is_progress_bar_enabled() == shown
    assert capfd.readouterr() == ("", "")


def test_shards_are_read_by_their_index(tmp_path):
    folder = save(tmp_path / "model", max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    model, _ = hub.load_model(folder, device="cpu")
    assert model.num_parameters() == Qwen2ForCausalLM(Qwen2Config(**SIZES)).num_parameters()


def test_nf4_stores_linear_weights_in_four_bits_with_double_quantisation(folder):
    from bitsandbytes.nn import Linear4bit

    model, _ = hub.load_model(folder, device="cpu", quantization="nf4")
    layer = model.model.layers[0].mlp.up_proj
    assert isinstance(layer, Linear4bit)
    assert layer.weight.numel() == 64 * 64 // 2
    assert (layer.weight.quant_state.quant_type, layer.weight.quant_state.nested) == ("nf4", True)
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_4_bit_weights_are_the_same_bits_after_an_evaluation_and_let_gradients_through(folder):
    model, _ = hub.load_model(folder, device="cpu", quantization="nf4")
    stored = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    embedded = model.get_input_embeddings()(torch.tensor([[1, 2, 3]])).detach().requires_grad_()
    model(inputs_embeds=embedded).logits.logsumexp(-1).sum().backward()
    assert embedded.grad.abs().min() > 0


def test_the_embedded_base_is_found_by_its_name(monkeypatch, folder):
    from ftkit.tiny import base

    monkeypatch.setattr(base, "folder", lambda: folder)
    assert hub.EMBEDDED == base.NAME
    assert hub.find_model() == folder
    assert hub.load_model(device="cpu")[0].config.model_type == "qwen2"


def test_the_hash_depends_on_content_and_not_on_the_folder(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "another name")
    first = hub.model_hash(folder)
    edit(other, _name_or_path="elsewhere", transformers_version="0.0")
    (other / "notes.md").write_text("not part of the model")
    (other / "trainer_state.json").write_text("[]")
    assert hub.model_hash(other) == first
    (other / "chat_template.jinja").write_text("{{ messages }}")
    with_template = hub.model_hash(other)
    edit(other, rms_norm_eps=0.1)
    assert len({first, with_template, hub.model_hash(other)}) == 3


def cached(folder, cache):
    snapshot = cache / "models--owner--name" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    (cache / "models--owner--name" / "refs").mkdir()
    (cache / "models--owner--name" / "refs" / "main").write_text("a" * 40)
    return snapshot


def test_a_model_in_the_cache_loads_without_asking_the_hub(folder, tmp_path):
    snapshot = cached(folder, tmp_path / "cache")
    assert hub.find_model("owner/name") == snapshot
    assert hub.load_model("owner/name", device="cpu")[0].config.model_type == "qwen2"
    assert hub.model_hash("owner/name") == hub.model_hash(folder)


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json"])
def test_half_of_a_model_in_the_cache_is_asked_for_again(folder, tmp_path, lost):
    (cached(folder, tmp_path / "cache") / lost).unlink()
    with pytest.raises(Refusal, match="The hub did not answer"):
        hub.find_model("owner/name")


def test_a_hub_name_is_downloaded_after_its_list_of_files_was_checked(folder, monkeypatch):
    names = [SimpleNamespace(rfilename=path.name) for path in folder.iterdir()]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=names))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns, ignore_patterns: str(folder))
    fetched = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: fetched.append(file))
    assert hub.find_model("owner/name") == folder
    assert fetched == ["model.safetensors"]


def test_a_long_download_says_how_far_it_is(monkeypatch, capsys):
    ticks = iter(range(0, 100, 6))
    monkeypatch.setattr(hub, "Lines", lambda what: Lines(what, clock=lambda: next(ticks)))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: None)
    hub._fetch_weights("owner/name", ["a.safetensors", "b.safetensors"])
    assert capsys.readouterr().out == ("downloading owner/name: 50 %, file 1 of 2, 6.00 s so far\n"
                                       "downloading owner/name: 100 %, file 2 of 2, 12.0 s so far\n")


def test_a_download_that_the_disk_has_no_room_for_is_refused_before_it_begins(folder, monkeypatch):
    info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=path.name) for path in folder.iterdir()],
                           safetensors=SimpleNamespace(parameters={"BF16": 10**15}))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    with pytest.raises(Refusal, match="free disk space for .* must be 1819 TiB or more for the files of owner/name, "
                                      "got .*another disk. HF_HOME says where the cache is"):
        hub.find_model("owner/name")


def test_what_a_stopped_download_left_is_not_asked_of_the_disk_again(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("ftkit.footprint.shutil.disk_usage", lambda _: SimpleNamespace(free=50))
    blobs = tmp_path / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    summary = SimpleNamespace(parameters={"BF16": 100})
    with pytest.raises(Refusal, match="free disk space for .* must be 200 B or more for the files of owner/name, got"):
        hub._refuse_small_cache("owner/name", summary)
    (blobs / "0123.incomplete").write_bytes(bytes(150))
    hub._refuse_small_cache("owner/name", summary)


def test_a_download_that_breaks_off_is_told_in_a_sentence(folder, monkeypatch):
    def breaks(*_, **__):
        raise ConnectionError("connection reset")

    names = [SimpleNamespace(rfilename=path.name) for path in folder.iterdir()]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=names))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", breaks)
    with pytest.raises(Refusal, match="model must be downloaded whole, got 'owner/name'. The download ended with "
                                      "ConnectionError: connection reset. Ask for it again: it goes on where"):
        hub.find_model("owner/name")


def test_pickled_weights_on_the_hub_are_refused_before_the_download(monkeypatch):
    names = [SimpleNamespace(rfilename=name) for name in ("config.json", "pytorch_model.bin", "tokenizer.json")]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=names))
    with pytest.raises(Refusal, match="owner/name must be weights stored as safetensors, got 'pytorch_model.bin'."):
        hub.find_model("owner/name")


def answers(error):
    def call(self, name, timeout):
        raise error(name, response=SimpleNamespace(headers={}, request=None, status_code=404))
    return call


@pytest.mark.parametrize(("answer", "sentence"), [
    (unreachable, "model must be in the cache, or the hub within reach, got 'owner/name'. The hub did not "
     r"answer \(ConnectionError\). Give a local folder, fill the Hugging Face cache elsewhere, or take"),
    (answers(RepositoryNotFoundError), "model must be a folder here or a name on the hub, got 'owner/name'. Neither"),
    (answers(GatedRepoError), "model must be open to you on the hub, got 'owner/name'. Accept its licence on its page"),
])
def test_a_name_that_the_hub_does_not_give_is_refused_with_what_to_do(monkeypatch, answer, sentence):
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", answer)
    with pytest.raises(Refusal, match=sentence):
        hub.load_model("owner/name")


@pytest.mark.parametrize("ask", ['hub.load_model("owner/name")', 'hub.load_dataset_records("owner/name")'])
def test_without_a_network_the_refusal_comes_after_one_try(tmp_path, ask):
    """The hub's own client would try six times, for 23 s; one warning line would betray a second try."""
    code = f"from ftkit import hub\nfrom ftkit.errors import Refusal\ntry: {ask}\nexcept Refusal as error: print(error)"
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0",
                   "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "The hub did not answer (ConnectError)." in done.stdout
    assert "Retry" not in done.stderr


def without(*names):
    def change(folder):
        for name in names:
            (folder / name).unlink()
    return change


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def content(name, text):
    return lambda folder: (folder / name).write_text(text)


def lost_shard(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}))


def as_adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


def without_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def set_config(**changes):
    return lambda folder: edit(folder, **changes)


BAD_MODELS = [
    (without("config.json"), "model must be a folder with a config.json, got .* Give the folder that save_pretrained"),
    (as_adapter, "model must be a whole model, got 'an adapter .* Load its base model, then the adapter on top of it."),
    (content("config.json", "{"), "config.json must be valid JSON, got .* at line 1, column 2'. Mend or delete the"),
    (content("config.json", "[]"), r"model/config.json must be a JSON object, got \[\]. Copy the file again."),
    (set_config(model_type=None), "model/config.json must be a config with a model_type, got 'none'. Copy config.json"),
    (set_config(model_type="qwen22"), "model: model_type must be a family that the installed transformers knows, got "
     "'qwen22'. Did you mean qwen2"),
    (set_config(model_type="zzzz"), "model_type must be a family that .* 'zzzz'. A newer transformers may know it."),
    (set_config(model_type="t5"), "model: model_type must be a causal language model's, got 't5, an encoder with a "
     "decoder'. Choose a model that"),
    (set_config(model_type="bert"), "model_type must be a causal language model's, got 'bert, an encoder'. Choose a"),
    (set_config(model_type="bart"), "got 'bart, an encoder with a decoder'. Choose a model that writes"),
    (set_config(model_type="own", auto_map={"AutoConfig": "own.Config"}), "trust_remote_code must be True for model, "
     "which brings code of its own, got False. Read the .py files in its folder first; they will run on this machine."),
    (without("model.safetensors"), "model must be a folder with .*safetensors weights, got .* config.json alone is"),
    (pickled, "model must be weights stored as safetensors, got 'pytorch_model.bin'. Pickled weights can run code"),
    (cut_short, "model/model.safetensors must be [0-9]+ bytes long, as its header says, got [0-9]+. Download or copy"),
    (content("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
     "model/model.safetensors must be the weights themselves, got 'a Git LFS pointer'. Run git lfs pull"),
    (content("model.safetensors", "not weights at all"), "model/model.safetensors must be a safetensors file, got '18"),
    (lost_shard, "model/model-00002.safetensors must be there, as the index of the weights says, got 'no such file'."),
    (without("tokenizer.json"), "model must be a folder with a tokenizer .tokenizer.json or the like., got .* Copy"),
    (content("tokenizer.json", "{}"), "model: tokenizer must be readable, got .* Copy the tokenizer files again"),
    (without_a_tensor, "model: weights must be complete, got '1 tensors missing, first"),
    (set_config(intermediate_size=32), "model: weights must be what config.json describes, got 'model.layers.0.mlp."
     r"down_proj.weight of shape \(64, 32\), stored as \(64, 64\)'. Copy config.json"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD_MODELS)
def test_a_checkpoint_that_is_not_whole_or_not_safe_is_refused(folder, change, sentence):
    change(folder)
    with pytest.raises(Refusal, match=sentence):
        hub.load_model(folder, device="cpu")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "vocab_size", 100)
    with pytest.raises(Refusal, match="model: tokenizer must be of at most 100 tokens, the rows of the model's"):
        hub.load_model(save(tmp_path / "model"), device="cpu")


def test_a_tokenizer_with_code_of_its_own_is_refused_by_what_it_is(tmp_path):
    folder = save(tmp_path / "model", "llama")
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "own.py").write_text("raise SystemExit('this has run')")
    with pytest.raises(Refusal, match="trust_remote_code must be True for model, whose tokenizer is code of its own, "
                                      "got False. Read the .py files in its folder first"):
        hub.load_model(folder, device="cpu")


def test_a_tokenizer_for_which_a_package_is_missing_names_the_package(tmp_path, monkeypatch):
    folder = save(tmp_path / "model", "llama")
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match="model: tokenizer must be a tokenizer.json, where sentencepiece is not "
                                      "installed, got 'files that need it'. pip install sentencepiece tiktoken"):
        hub.load_model(folder, device="cpu")


def test_code_of_a_trusted_checkpoint_is_left_to_transformers(folder):
    edit(folder, model_type="own", auto_map={"AutoConfig": "own.Config"})
    assert hub.find_model(folder, trust_remote_code=True) == folder
    with pytest.raises(Refusal, match="model: tokenizer must be readable|model: weights must be what config.json"):
        hub.load_model(folder, device="cpu", trust_remote_code=True)


def test_a_folder_fetched_in_part_is_not_complete(folder):
    assert checkpoints.is_complete(folder)
    lost_shard(folder)
    assert not checkpoints.is_complete(folder)


@pytest.mark.parametrize(("name", "sentence"), [
    ("no/such/folder", "model must be \"ftkit-tiny\", an existing folder or a hub name .*, got 'no/such/folder'."),
    ("", "model must be \"ftkit-tiny\", an existing folder or a hub name .*, got ''."),
    ("two words", "model must be .*, got 'two words'. Check the path."),
    ("ftkit-tinny", "model must be in the cache.* Did you mean ftkit-tiny?"),
])
def test_a_name_that_is_nothing_is_refused_with_the_nearest(name, sentence):
    with pytest.raises(Refusal, match=sentence):
        hub.load_model(name)


def test_a_misspelt_folder_gets_the_one_beside_it(folder):
    with pytest.raises(Refusal, match=r"got .*modell'. Did you mean .*model\?"):
        hub.load_model(folder.with_name("modell"))
    with pytest.raises(Refusal, match="model must be .* an existing folder or a hub name"):
        hub.load_model(folder / "config.json")


def test_an_unknown_quantisation_is_refused(folder):
    with pytest.raises(Refusal, match="quantization must be one of None, nf4, fp4, int8, got 'nf5'. Did you mean nf4?"):
        hub.load_model(folder, quantization="nf5")


def test_rows_of_a_hub_data_set_come_as_dictionaries(monkeypatch):
    rows = [{"question": "q", "answer": "a"}]
    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **settings: asked.append((args, settings))
                        or datasets.Dataset.from_list(rows))
    assert hub.load_dataset_records("owner/name:part", "test") == rows
    assert asked == [(("owner/name", "part"), {"split": "test"})]


@pytest.mark.parametrize(("name", "sentence"), [
    ("name", 'data must be a hub name such as "owner/name" or "owner/name:subset", got \'name\'.'),
    ("owner/name", "data must be in the cache, or the hub within reach, got 'owner/name'. The hub did not answer .*"),
])
def test_a_data_set_that_cannot_be_had_is_refused(name, sentence):
    with pytest.raises(Refusal, match=sentence):
        hub.load_dataset_records(name)


def test_a_missing_subset_is_refused_with_what_the_hub_library_says(monkeypatch):
    def fails(*arguments, **settings):
        raise ValueError("Config name is missing. Pick one of ['main', 'socratic']")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(Refusal, match="data must be a hub data set with this subset and split, got "
                                      "'owner/name, split train'. The hub's library says: Config name is missing."):
        hub.load_dataset_records("owner/name")

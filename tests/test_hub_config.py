"""A config is found in a file, a folder or the cache, and never with the weights."""

import json

import httpx
import pytest
from huggingface_hub import errors

from ftkit.errors import Refusal
from ftkit.hub_config import find_config

ANSWER = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co/some/model"))
LLAMA = {"model_type": "llama", "hidden_size": 8}


def test_a_folder_and_a_file_hold_the_same_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), "utf-8")
    assert find_config(tmp_path) == find_config(tmp_path / "config.json") == LLAMA


def test_a_name_on_the_hub_is_asked_for_its_config_alone(tmp_path, monkeypatch):
    asked, file = [], tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), "utf-8")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, what: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, what, **_: asked.append((name, what)) or file)
    assert find_config("somebody/some-model") == LLAMA and asked == [("somebody/some-model", "config.json")]


def test_the_cache_is_enough(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), "utf-8")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, what: str(file))
    assert find_config("somebody/some-model") == LLAMA


def test_a_hub_out_of_reach_and_a_file_that_is_none_are_refused(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, what: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(Refusal, match=r"got 'somebody/some-model'. The hub did not answer \(OSError\). Give the"):
        find_config("somebody/some-model")
    file = tmp_path / "config.json"
    file.write_text('{"hidden_size": 8}', "utf-8")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, what: str(file))
    with pytest.raises(Refusal, match="config.json must be a JSON object with model_type"):
        find_config("somebody/some-model")


@pytest.mark.parametrize(("kind", "sentence"), [
    ("GatedRepoError", "model must be open to you on the hub, got 'some/model'. Accept its licence on its page, then"),
    ("RepositoryNotFoundError", "model must be a folder here or a name on the hub, got 'some/model'. Neither is there. "
                                "Give the model's config.json"),
    ("RemoteEntryNotFoundError", "model must be a name on the hub with a config.json, got 'some/model'. It has none. "),
])
def test_what_the_hub_answers_is_told_apart_from_no_answer(monkeypatch, kind, sentence):
    def fails(*_, **__):
        raise getattr(errors, kind)("as the hub says it", response=ANSWER)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, what: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(Refusal, match=sentence):
        find_config("some/model")

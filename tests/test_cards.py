import json
import subprocess
from dataclasses import asdict, replace
from importlib import metadata

import pytest

import ftkit
from ftkit import cards
from ftkit.cards import Card, read_card, rerun_request, write_card
from ftkit.errors import Refusal
from ftkit.files import sha256

CARD = Card("try", {"rank": 8}, seed=3, started="2026-01-02T03:04:05+00:00")


def test_a_card_comes_back_as_it_was_written(tmp_path):
    full = replace(CARD, versions={"torch": "2"}, commit="abc", data=[{"name": "x.json", "sha256": "0f"}],
                   model={"name": "m", "sha256": None}, hardware={"cores": 2}, threads=2, elapsed_s=1.5,
                   status="failed", metrics={"loss": 0.5}, error="why")
    assert write_card(tmp_path, full) == full
    assert read_card(tmp_path) == read_card(tmp_path / "card.json") == full


def test_nothing_secret_enters_a_card(tmp_path):
    planted = replace(CARD, parameters={"data": "/home/ada/x.json", "key": "hf_abcdefghijklmnopqrst"},
                      error="/Users/ada/y.py broke with sk-abc123def456ghi", metrics={"note": "C:\\Users\\ada\\z"})
    write_card(tmp_path, planted)
    text = (tmp_path / "card.json").read_text("utf-8")
    assert not any(secret in text for secret in ("ada", "hf_", "sk-"))
    assert read_card(tmp_path).parameters["data"] == "<path>/x.json"


def stored(**changes):
    content = asdict(CARD) | changes
    return json.dumps({name: value for name, value in content.items() if value != "left out"})


@pytest.mark.parametrize("text, words", [
    ("{", r"card\.json must be valid JSON, got .*line 1.*Mend or delete"),
    ("[1]", r"/card\.json must be a JSON object, got \[1\]\. Restore the card or delete the run\."),
    (stored(seed="left out", name="left out"), r"card\.json must be a whole card, got 'one without name, seed'\."),
    (stored(schema=2), r"schema must be 1 or less, got 2\. A newer ftkit wrote this card: upgrade ftkit to read it\."),
    (stored(schema=99, renamed="left out", seed="left out"), r"schema must be 1 or less, got 99"),
    (stored(schema=0), r"card: schema must be a whole number, 1 or more, got 0\. Is this a run card\?"),
    (stored(schema="1"), r"card: schema must be a whole number, 1 or more, got '1'"),
    (stored(metrics=[1]), r"card: metrics must be an object, got \[1\]\. Restore the card or delete the run\."),
    (stored(elapsed_s="long"), r"card: elapsed_s must be a number, got 'long'"),
    (stored(status="runing"), r"card: status must be one of running, done, failed, got 'runing'\. Did you mean"),
    (stored(metrix={}), r"a field of .*/card\.json must be one of .*got 'metrix'\. Did you mean metrics\?"),
])
def test_a_damaged_card_is_refused_with_the_field(tmp_path, text, words):
    (tmp_path / "card.json").write_text(text, "utf-8")
    with pytest.raises(Refusal, match=words):
        read_card(tmp_path)


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"run folder must be one that holds a card\.json, got .*Check the path\."):
        read_card(tmp_path)


def with_data(tmp_path, content="a", name="x.json", **parameters):
    (tmp_path / "old").mkdir(exist_ok=True)
    (tmp_path / "old" / name).write_text(content, "utf-8")
    entry = {"name": name, "sha256": sha256(content.encode())}
    return replace(CARD, data=[entry], parameters={"rank": 8, **parameters})


def test_a_rerun_finds_its_data_by_name_and_hash(tmp_path):
    found = rerun_request(with_data(tmp_path, data="<path>/x.json"), [tmp_path, tmp_path / "old"])
    assert found.data == [tmp_path / "old" / "x.json"] and found.seed == 3
    assert found.parameters == {"rank": 8, "data": str(tmp_path / "old" / "x.json")}


def test_a_rerun_finds_a_renamed_data_file_by_its_hash(tmp_path):
    card = with_data(tmp_path, data="x.json")
    (tmp_path / "old" / "x.json").rename(tmp_path / "old" / "renamed.json")
    assert rerun_request(card, [tmp_path / "old"]).data == [tmp_path / "old" / "renamed.json"]


def test_a_rerun_asks_for_data_that_is_not_there(tmp_path):
    with pytest.raises(Refusal, match=r"folders must be where x\.json is \(sha256 ca978112ca1b…\), got .*Name the"):
        rerun_request(with_data(tmp_path), [tmp_path])


def test_a_rerun_refuses_data_that_has_changed(tmp_path):
    card = with_data(tmp_path)
    (tmp_path / "old" / "x.json").write_text("b", "utf-8")
    with pytest.raises(Refusal, match=r"x\.json must be the file this run used \(sha256 ca978112ca1b…\), got 'one"):
        rerun_request(card, [tmp_path / "old"])


def test_a_rerun_asks_for_what_was_too_secret_for_the_card():
    card = replace(CARD, parameters={"hf_token": "<secret>", "out": "<path>/out"})
    with pytest.raises(Refusal, match=r"hf_token must be given again, since a card does not keep it.*in changes"):
        rerun_request(card)
    given = rerun_request(card, changes={"hf_token": "abc", "out": "here"})
    assert given.parameters == {"hf_token": "abc", "out": "here"}


def test_data_is_stored_as_name_and_hash(tmp_path):
    (tmp_path / "x.json").write_text("a", "utf-8")
    want = [{"name": "x.json", "sha256": sha256(b"a")}]
    assert cards.data_entries([tmp_path / "x.json"]) == want
    assert cards.data_entries([{**want[0], "rows": 3}]) == want
    assert cards.data_entries(None) == []


def test_a_missing_data_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"data must be paths of files, got .*Check the path\."):
        cards.data_entries([tmp_path / "none.json"])


def test_a_model_is_stored_by_its_name_and_not_by_its_path(tmp_path):
    assert cards.model_entry("Qwen/Qwen2.5-0.5B") == {"name": "Qwen/Qwen2.5-0.5B", "sha256": None}
    assert cards.model_entry({"name": str(tmp_path / "mine"), "sha256": "0f"}) == {"name": "mine", "sha256": "0f"}
    assert cards.model_entry(None) == {}


def test_versions_are_those_of_the_installed_packages():
    found = cards.versions()
    assert found["torch"] == metadata.version("torch") and found["ftkit"] == ftkit.__version__


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)
    monkeypatch.setattr(metadata, "version", missing)
    assert set(cards.versions()) == {"python", "ftkit"}


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    package = tmp_path / "src" / "ftkit"
    package.mkdir(parents=True)
    monkeypatch.setattr(ftkit, "__file__", str(package / "__init__.py"))
    assert cards.commit() is None
    (package / "__init__.py").write_text("", "utf-8")
    for words in (["init"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    head = cards.commit()
    assert len(head) == 40
    (package / "__init__.py").write_text("1", "utf-8")
    assert cards.commit() == f"{head}+changed"


def test_a_broken_checkout_has_no_commit(tmp_path, monkeypatch):
    (tmp_path / "src" / "ftkit").mkdir(parents=True)
    (tmp_path / ".git").write_text("gitdir: nowhere", "utf-8")
    monkeypatch.setattr(ftkit, "__file__", str(tmp_path / "src" / "ftkit" / "__init__.py"))
    assert cards.commit() is None

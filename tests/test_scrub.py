import getpass
import json
import socket
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch

from ftkit.scrub import last_part, scrub


@pytest.mark.parametrize("secret", [
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567", "hf_abcdefghijklmnopqrst", "sk-proj-abc123DEF456ghi789",
    "sk-ant-api03-abcdefghijk-123", "sk-1234567890abcdef", "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "gho_16C7e42F292c6912E7710c838347Ae178B4a", "github_pat_11ABCDEFG0abcdefghijkl_mnopqrst",
    "glpat-x1y2z3a4b5c6d7e8f9g0", "AKIAIOSFODNN7EXAMPLE", "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "xoxb-123456789012-abcdefghijkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"])
@pytest.mark.parametrize("around", ["{}", "token {} was refused", "--key={}", "'{}'", "https://x.org/?t={}&u=1"])
def test_a_planted_token_is_taken_out(secret, around):
    text = scrub(around.format(secret))
    assert secret not in text and secret[-8:] not in text and "<secret>" in text


@pytest.mark.parametrize("text, want", [
    ("Authorization: Bearer abc123def456", "Authorization: Bearer <secret>"),
    ("api_key=a1b2c3d4e5f6 rest", "api_key=<secret> rest"),
    ('{"password": "hunter2hunter2"}', '{"password": "<secret>"}'),
    ("https://ada:pw12@example.org/x", "https://example.org/x"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "<secret>"),
])
def test_a_password_is_taken_out(text, want):
    assert scrub(text) == want


@pytest.mark.parametrize("path", [
    "/home/ada/data/x.json", "/Users/ada/data/x.json", "C:\\Users\\ada\\data\\x.json", "C:/Users/Ada L/x.json",
    "/root/x.json", "/scratch/ada/x.json", "/mnt/d/ada/x.json", "~/notes/x.json", "file:///home/ada/x.json",
    "\\\\server\\ada\\x.json", "/tmp/ada-1/x.json"])
def test_a_path_is_cut_down_to_its_last_part(path):
    assert scrub(path) == "<path>/x.json"
    assert scrub(f"reading {path}: no such file") == "reading <path>/x.json: no such file"
    assert "ada" not in scrub(repr(path)).lower()


@pytest.mark.parametrize("path", ["/home/ada/my secret project/x y.json", "D:\\my project\\a b\\x y.json",
                                  "/mnt/big disk/ada/x y.json"])
def test_a_path_with_spaces_is_cut_down_where_its_end_is_clear(path):
    assert scrub(path) == "<path>/x y.json"
    assert scrub(f"No such file or directory: '{path}'.") == "No such file or directory: '<path>/x y.json'."


@pytest.mark.parametrize("path", ["/home/ada", "/Users/ada/", "C:\\Users\\ada", "~/", "/root"])
def test_a_home_folder_leaves_no_name(path):
    assert scrub(path) == "<path>"


def test_this_machine_and_this_user_are_taken_out():
    host, home = socket.gethostname(), str(Path.home())
    text = scrub(f"on {host}, http://{host}:8888, {home}/ftkit/x.csv, {getpass.getuser()}@{host}:{home}")
    assert f" {host}" not in text and home not in text and f"{getpass.getuser()}@" not in text


def test_a_host_name_is_taken_out_with_its_domain(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node17.cluster.example.edu")
    assert scrub("node17 and node17.cluster.example.edu and node17.local") == "<host> and <host> and <host>"
    assert scrub("ada@node17.cluster.example.edu") == "<host>"
    assert scrub("请联系ada@node17.cluster.example.edu谢谢") == "请联系<host>谢谢"
    assert scrub("请联系13812345678ann@example.com谢谢") == "请联系13812345678ann@example.com谢谢"


def test_the_value_of_a_secret_variable_is_taken_out(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_API_KEY", "correct horse battery staple")
    assert scrub("used correct horse battery staple here") == "used <secret> here"


@pytest.mark.parametrize("name", ["hf_token", "token", "api_key", "password", "OPENAI_API_KEY", "client_secret"])
def test_a_value_with_a_secret_name_is_taken_out_whatever_it_looks_like(name):
    assert scrub({name: "plain"}) == {name: "<secret>"}


@pytest.mark.parametrize("value", [
    {"pad_token": "<pad>", "eos_token": "<|im_end|>", "max_new_tokens": 64, "real_tokens": 12, "tokens_per_s": 1.5},
    {"model": "Qwen/Qwen2.5-0.5B", "method": "lora", "target_modules": ["q_proj", "v_proj"]},
    {"url": "https://huggingface.co/Qwen/Qwen2.5-0.5B", "route": "POST /v1/chat/completions"},
    {"text": "3/4 of it and/or 5 km/h on 2026/01/02, see a/b.json"}, {"package": "hf_transfer and sk-learn"},
    {"tex": "$\\frac{a}{b} \\\\ W:\\mathbb{R}^n\\to y$"}, {"html": "<td>a</td><br/>"}, {"answer": "每日 2/3 次"},
    {"commit": "e5d2e2b5ac51bae3ff4756a37458912f2ca18fff"}, {"learning_rate": 1e-3, "none": None, "flag": True},
])
def test_what_is_no_secret_stays_as_it_is(value):
    assert scrub(value) == value


def test_whatever_comes_in_json_can_hold_what_comes_out():
    @dataclass
    class Settings:
        rank: int
        where: Path

    value = {"settings": Settings(8, PurePosixPath("/home/ada/x")), "numpy": np.float32(0.5), "array": np.arange(2),
             "torch": torch.tensor(2), "dtype": torch.bfloat16, "bad": float("nan"), "set": {1}, 3: ("a",)}
    assert json.loads(json.dumps(scrub(value), allow_nan=False)) == {
        "settings": {"rank": 8, "where": "<path>/x"}, "numpy": 0.5, "array": [0, 1], "torch": 2,
        "dtype": "torch.bfloat16", "bad": None, "set": [1], "3": ["a"]}


def test_scrubbing_twice_changes_nothing_more():
    text = "/home/ada/data/x.json hf_abcdefghijklmnopqrst ada@node1.org C:\\Users\\ada"
    assert scrub(scrub(text)) == scrub(text)


def test_a_secret_in_a_name_is_taken_out_too():
    assert scrub({"/home/ada/x.json": 1}) == {"<path>/x.json": 1}


def test_a_user_without_an_entry_in_the_system_is_no_obstacle(monkeypatch):
    def nobody():
        raise KeyError("uid")
    monkeypatch.setattr(getpass, "getuser", nobody)
    assert scrub("/scratch/ada/x.json") == "<path>/x.json"


def test_the_last_part_of_a_windows_path_is_found():
    assert last_part("C:\\data\\x.json") == "x.json"

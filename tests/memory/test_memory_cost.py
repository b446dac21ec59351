"""Hours and money are those of the sums that one can do by hand, with the learner's own prices where given."""

import json

import pytest

from ftkit.errors import Refusal
from ftkit.memory.cost import cost, flops_per_token, prices, read_prices, throughput
from ftkit.memory.gpus import gpu_named
from ftkit.memory.models import model_named
from ftkit.memory.setup import Setup

LLAMA = model_named("llama-2-7b").shape


def test_own_prices_go_before_the_examples():
    found = cost(7_200_000, 2000, gpu_named("RTX-4090"), price_per_kwh=1.0, rent_per_hour=3.0)
    assert (found.hours, found.kwh, found.electricity, found.rent) == (1.0, 0.45, 0.45, 3.0)
    assert found.basis == "tokens a second measured; prices as given"


def test_examples_are_dated_and_said_to_be_examples():
    found = cost(3_600_000, 1000, gpu_named("T4"), currency="USD", measured=False)
    assert found.rent == prices()["rent_per_hour"]["T4"]["USD"] and found.currency == "USD"
    assert found.spot_rent == pytest.approx(found.rent * (1 - prices()["spot_discount"]))
    assert prices()["dated"] in found.basis and "stated, not measured" in found.basis
    assert all(set(price) == {"CNY", "USD"} for price in prices()["rent_per_hour"].values())


def test_without_a_card_only_what_is_given_is_computed():
    found = cost(1000, 10)
    assert found.kwh is found.electricity is found.rent is found.spot_rent is None


def test_lora_takes_two_thirds_of_the_operations_of_full_fine_tuning():
    full, lora = (flops_per_token(LLAMA, Setup(method)) for method in ("full", "lora"))
    assert 0.65 < lora / full < 0.70  # no product for the gradients of frozen weights, a little for the adapter's own
    again = flops_per_token(LLAMA, Setup("lora", checkpointing=True))
    assert 1.4 < again / lora < 1.5  # the layers' forward pass once more


def test_tokens_a_second_follow_from_the_rate_and_the_share():
    gpu = gpu_named("A100-80")
    assert throughput(LLAMA, Setup("lora"), gpu, 0.5) == pytest.approx(
        0.5 * 312e12 / flops_per_token(LLAMA, Setup("lora")))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: cost(0, 10), "tokens must be a number above 0, got 0"),
    (lambda: cost(10, float("nan")), "tokens_per_s must be a number above 0, got nan"),
    (lambda: cost(10, 10, currency="EUR"), "currency must be one of CNY, USD, got 'EUR'"),
    (lambda: cost(10, 10, rent_per_hour=-1), "rent_per_hour must be a number, 0 or more, got -1"),
    (lambda: throughput(LLAMA, Setup(), gpu_named("A100"), 1.5), "share must be above 0 and up to 1, got 1.5"),
    (lambda: throughput(LLAMA, Setup(), gpu_named(24)), "gpu must be one whose rate is known, got '24 GB'"),
])
def test_bad_numbers_are_refused(make, words):
    with pytest.raises(Refusal, match=words):
        make()


def test_prices_of_ones_own_stand_in_a_file(tmp_path):
    file = tmp_path / "prices.json"
    own = {"dated": "2027-01", "electricity_per_kwh": {"CNY": 1.0}, "spot_discount": 0.5,
           "rent_per_hour": {"RTX-4090": {"CNY": 3.0}}}
    file.write_text(json.dumps(own), "utf-8")
    found = cost(3_600_000, 1000, gpu_named("RTX-4090"), table=read_prices(file))
    assert (found.rent, found.spot_rent, found.electricity) == (3.0, 1.5, 0.45)
    assert found.basis == "tokens a second measured; your prices of 2027-01"


@pytest.mark.parametrize(("changes", "words"), [
    ({"spot_discount": -1}, "spot_discount in .* must be a number, 0 or more, got -1"),
    ({"rent_per_hour": 3}, "any card in .* must be a JSON object with CNY and USD, got None"),
    ({"rent_per_hour": {"T4": {"CNY": "much"}}}, "CNY of T4 in .* must be a number, 0 or more, got 'much'"),
    ({"electricity_per_kwh": {"EUR": 1}}, "electricity_per_kwh in .* must be a JSON object with CNY and USD")])
def test_prices_that_are_none_are_refused_by_their_place(changes, words, tmp_path):
    (tmp_path / "prices.json").write_text(json.dumps({**prices(), **changes}), "utf-8")
    with pytest.raises(Refusal, match=words):
        read_prices(tmp_path / "prices.json")


def test_a_file_without_all_prices_and_a_discount_above_the_price_are_refused(tmp_path):
    (tmp_path / "prices.json").write_text("{}", "utf-8")
    with pytest.raises(Refusal, match="must be a JSON object with dated, electricity_per_kwh, spot_discount, rent_per"):
        read_prices(tmp_path / "prices.json")
    with pytest.raises(Refusal, match="spot_discount must be a share of the price, from 0 to 1, got 2"):
        cost(1e6, 1000, gpu_named("T4"), spot_discount=2)

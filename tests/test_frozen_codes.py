"""A weight in 4-bit codes, made by torch's own operations: the numbers that its library makes."""

import bitsandbytes
import pytest
import torch
from torch import nn

from ftkit import frozen_codes
from ftkit.quant.linear import quantised_linear


def a_linear(rows=96, columns=192, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(columns, rows, bias=False).to(dtype)


def by_bitsandbytes(linear, data_type, double):
    made = bitsandbytes.nn.Linear4bit(linear.in_features, linear.out_features, bias=False, quant_type=data_type,
                                      compute_dtype=linear.weight.dtype, compress_statistics=double)
    made.load_state_dict(linear.state_dict())
    return made.to(linear.weight.dtype).to("cpu")


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("data_type", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("library", ["ours", "bitsandbytes"])
def test_decoded_by_torchs_operations_a_weight_is_bit_for_bit_what_its_library_makes(library, dtype, data_type, double):
    linear = a_linear(dtype=dtype)
    base = (by_bitsandbytes(linear, data_type, double) if library == "bitsandbytes"
            else quantised_linear(linear, data_type, double=double))
    make = frozen_codes.weight_of(base, dtype)
    plain = make(dtype)
    with frozen_codes.decoding_by(frozen_codes.decode):
        decoded = make(dtype)
    assert plain.shape == linear.weight.shape and plain.dtype == decoded.dtype == dtype
    assert torch.equal(plain, decoded)
    assert (plain - linear.weight).abs().max() < 0.2 * linear.weight.abs().max()  # it is that weight, not another


def test_a_weight_whose_last_block_is_short_is_left_to_its_library():
    layer, calls = quantised_linear(a_linear(5, 7)), []
    make = frozen_codes.weight_of(layer, torch.float32)
    with frozen_codes.decoding_by(lambda *_: calls.append(1)):
        assert torch.equal(make(torch.float32), layer.dequantised(torch.float32))
    assert not calls


@pytest.mark.parametrize("kind", ["a plain layer", "another compute type"])
def test_a_layer_without_codes_or_of_another_compute_type_has_no_such_function(kind):
    linear = a_linear()
    base = linear if kind == "a plain layer" else by_bitsandbytes(linear, "nf4", True)
    assert frozen_codes.weight_of(base, torch.bfloat16) is None


def test_int8_has_a_weight_but_no_4_bit_codes():
    layer = quantised_linear(a_linear(), "int8")
    assert layer.codes() is None
    assert torch.equal(frozen_codes.weight_of(layer, torch.float32)(torch.float32), layer.dequantised(torch.float32))

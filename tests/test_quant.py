"""Blocks of codes: the bytes, scales and values of bitsandbytes; what is refused; what it all takes to store."""

import math

import bitsandbytes.functional as bnb
import pytest
import torch

from ftkit.errors import Refusal
from ftkit.quant import codebooks, codes
from ftkit.quant.blocks import bits_per_number, codes_of, dequantise, quantise, scales_of, storage_bytes
from ftkit.quant.codes import pack, unpack

BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = ((4, 4096), (33, 66), (7, 9), (1001,), (2, 3, 50), (65,), (1,), (5, 1), (3, 4097))


@pytest.fixture(autouse=True)
def without_compiler():
    """bitsandbytes compiles a fallback when it is first called; the plain code computes the same."""
    with torch.compiler.set_stance("force_eager"):
        yield


def theirs(tensor, data_type, block_size, double):
    return bnb.quantize_4bit(tensor, blocksize=block_size, quant_type=data_type, compress_statistics=double)


def assert_same_storage(tensor, data_type, block_size, double):
    packed, state = theirs(tensor, data_type, block_size, double)
    ours = quantise(tensor, data_type, block_size, double)
    assert torch.equal(ours.packed, packed)
    assert torch.equal(ours.scales, state.absmax)
    if double:
        assert torch.equal(ours.scale_scales, state.state2.absmax) and torch.equal(ours.offset, state.offset)
    return ours, packed, state


def values_of(packed, state, shape):
    """What bitsandbytes reads from the bytes, all in one row.

    In one row, because its AVX-512 kernel (0.50.2) takes a wrong scale where a row is no whole number of blocks.
    """
    scales = state.absmax
    if state.nested:
        scales = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    made = torch.ops.bitsandbytes.dequantize_4bit.default(
        packed, scales, state.blocksize, state.quant_type, (math.prod(shape),), state.dtype)
    return made.reshape(shape)


# --- codebooks ---


@pytest.mark.parametrize("data_type", ["nf4", "fp4"])
def test_a_derived_codebook_is_that_of_bitsandbytes_bit_for_bit(data_type):
    assert torch.equal(codebooks.codebook(data_type), bnb.get_4bit_type(data_type, "cpu"))


def test_the_codebook_for_scales_is_that_of_bitsandbytes_bit_for_bit():
    assert torch.equal(codebooks.dynamic_codebook(), bnb.create_dynamic_map())


@pytest.mark.parametrize(("tail", "dtype", "same"), [
    (codebooks.NF4_TAIL, torch.float32, 16), (codebooks.NF4_TAIL, torch.float64, 6),
    ((1 - 1 / 32 + 1 - 1 / 30) / 2, torch.float64, 4), ((1 - 1 / 32 + 1 - 1 / 30) / 2, torch.float32, 4)])
def test_nf4_has_its_bits_from_float32_and_a_rounded_tail(tail, dtype, same):
    found = codebooks.nf4_codebook(tail, dtype)
    assert (found == bnb.get_4bit_type("nf4", "cpu")).sum() == same
    torch.testing.assert_close(found, bnb.get_4bit_type("nf4", "cpu"), rtol=0, atol=5e-7)  # last bits alone


def test_floats_of_four_bits_are_the_ones_of_ieee_754():
    assert (codebooks.codebook("e2m1") * 6).tolist()[:8] == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert (codebooks.codebook("e3m0") * 16).tolist()[8:] == [0, -0.25, -0.5, -1, -2, -4, -8, -16]


def test_a_codebook_that_is_changed_leaves_the_next_one_alone():
    codebooks.codebook("nf4").zero_()
    assert codebooks.codebook("nf4")[15] == 1


@pytest.mark.parametrize(("call", "words"), [
    (lambda: codebooks.codebook("nf5"), "data_type must be one of nf4, fp4, e2m1, e3m0, int4, got 'nf5'. Did you mean"),
    (lambda: codebooks.codebook("int8"), "int8 has no codebook"),
    (lambda: codebooks.float_codebook(0, 3), r"exponent_bits and mantissa_bits must be 1 or more and 0 or more"),
    (lambda: codebooks.float_codebook(4, 4), r"got \(4, 4\). Take 2 and 1 for a 4-bit float."),
])
def test_a_codebook_that_does_not_exist_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


# --- the same bytes as bitsandbytes ---


@pytest.mark.parametrize("data_type", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("double", [False, True])
def test_bytes_scales_and_values_are_those_of_bitsandbytes(data_type, dtype, block_size, double):
    generator = torch.Generator().manual_seed(block_size)
    for shape in SHAPES:
        size = 10.0 ** torch.randint(-4, 3, (1,), generator=generator).item()
        tensor = (torch.randn(shape, generator=generator) * size).to(dtype)
        ours, packed, state = assert_same_storage(tensor, data_type, block_size, double)
        assert torch.equal(dequantise(ours), values_of(packed, state, shape))
        assert dequantise(ours).dtype == dtype and dequantise(ours).shape == tensor.shape


@pytest.mark.parametrize("seed", range(6))
def test_large_random_tensors_of_any_scale_are_stored_alike(seed):
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(500_001, generator=generator)
    tensor *= 10 ** torch.empty(500_001).uniform_(-3 * seed, 3 * seed, generator=generator)  # seed 5: 1e-15 to 1e15
    tensor[torch.rand(500_001, generator=generator) < 0.05] = 0
    for data_type in ("nf4", "fp4"):
        for double in (False, True):
            ours, packed, state = assert_same_storage(tensor, data_type, 64 << seed, double)
            assert torch.equal(dequantise(ours), values_of(packed, state, tensor.shape))


@pytest.mark.parametrize("data_type", ["nf4", "fp4"])
@pytest.mark.parametrize("size", [1.0, 3.0, 0.1, 1e-30, 3e38])
def test_numbers_at_and_beside_the_midpoints_get_the_code_that_bitsandbytes_gives_them(data_type, size):
    values = codebooks.codebook(data_type).sort().values
    midpoints = (values[1:] + values[:-1]) / 2
    for towards in (-math.inf, 0.0, math.inf):
        beside = torch.cat([torch.tensor([1.0]), midpoints, midpoints, values, values, torch.tensor([-1.0])]) * size
        beside[1:-1] = torch.nextafter(beside, torch.full_like(beside, towards))[1:-1]
        for block_size in (64, 32):  # one block that is whole; one that is whole and one that is not
            assert_same_storage(beside[:64 if block_size == 64 else 50], data_type, block_size, False)


@pytest.mark.parametrize("data_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("tensor", [
    torch.zeros(128), torch.zeros(70), torch.full((192,), -0.0), torch.full((130,), 3.0), torch.tensor([0.0, 1e-40]),
    torch.full((129,), 1e-42), torch.linspace(-1e-38, 1e-38, 100), torch.linspace(-1, 1, 64) * 3.4e38,
    torch.cat([torch.zeros(64), torch.ones(64), torch.zeros(3)]), torch.tensor([-0.0, 0.0, 5.0])],
    ids=["zeros", "zeros in two blocks", "minus zeros", "one value", "a denormal", "denormals", "around 1e-38",
         "the largest floats", "a block of zeros among others", "signed zeros"])
def test_odd_numbers_are_stored_as_bitsandbytes_stores_them(tensor, data_type, double):
    ours, packed, state = assert_same_storage(tensor, data_type, 64, double)
    assert torch.equal(dequantise(ours), values_of(packed, state, tensor.shape))


def test_doubly_quantised_scales_are_the_same_for_many_blocks_and_any_spread():
    generator = torch.Generator().manual_seed(0)
    for spread in (0.01, 1.0, 5.0):
        largest = torch.exp(spread * torch.randn(5000, generator=generator))
        tensor = (torch.rand(5000, 64, generator=generator) * 2 - 1) * largest[:, None]
        ours, _, state = assert_same_storage(tensor, "nf4", 64, True)
        assert torch.equal(scales_of(ours), bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset)


def test_a_tensor_whose_rows_are_no_whole_blocks_keeps_every_scale_in_its_place():
    tensor = torch.randn(8, 192, generator=torch.Generator().manual_seed(0))  # blocks of 128: every second row is cut
    ours, packed, state = assert_same_storage(tensor, "nf4", 128, False)
    assert torch.equal(dequantise(ours), values_of(packed, state, (8, 192)))
    assert (dequantise(ours) - tensor).abs().max() < 0.5  # half of NF4's widest gap, 0.304, of a scale of about 3


def test_int8_rows_are_those_of_bitsandbytes():
    rows = torch.randn(9, 128, generator=torch.Generator().manual_seed(0)).half()
    their_codes, scales, _ = bnb.int8_vectorwise_quant(rows.clone())
    ours = quantise(rows.float(), "int8", block_size=128)
    assert torch.equal(ours.scales, scales)
    far = (codes_of(ours).int() - their_codes.int()).abs()
    assert far.max() <= 1 and (far > 0).float().mean() < 0.01  # theirs multiplies in float16, ours in float32


def test_a_view_that_is_not_contiguous_is_read_in_its_own_order():
    tensor = torch.randn(66, 33, generator=torch.Generator().manual_seed(0)).t()
    assert torch.equal(quantise(tensor).packed, quantise(tensor.contiguous()).packed)


def test_several_threads_read_the_same_numbers(monkeypatch):
    monkeypatch.setattr(codes, "DECODE_THREADS", 1)
    monkeypatch.setattr(codes, "CHUNK", 256)
    tensor = torch.randn(41, 97, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = [dequantise(quantise(tensor, data_type, size)) for data_type in ("nf4", "int8") for size in (64, 6)]
    finally:
        torch.set_num_threads(1)
    alone = [dequantise(quantise(tensor, data_type, size)) for data_type in ("nf4", "int8") for size in (64, 6)]
    torch.set_num_threads(before)
    assert all(map(torch.equal, found, alone))


# --- every data type ---


@pytest.mark.parametrize("data_type", codebooks.DATA_TYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [2, 64, 100, 4096])
def test_every_number_gets_the_value_of_its_block_that_is_nearest(data_type, dtype, block_size):
    tensor = torch.randn(3, 67, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = dequantise(quantise(tensor, data_type, block_size), torch.float32)
    values = torch.arange(-127, 128) / 127 if data_type == "int8" else codebooks.codebook(data_type)
    flat = torch.nn.functional.pad(tensor.float().flatten(), (0, -tensor.numel() % block_size)).view(-1, block_size)
    nearest = (flat[..., None] - values * flat.abs().amax(1)[:, None, None]).abs().amin(-1)
    error = (flat.flatten()[:tensor.numel()] - found.flatten()).abs()
    # a scaled number is rounded, so beside a midpoint the neighbour may be taken
    torch.testing.assert_close(error, nearest.flatten()[:tensor.numel()], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("data_type", codebooks.DATA_TYPES)
def test_quantising_what_was_dequantised_changes_nothing(data_type):
    once = dequantise(quantise(torch.randn(40, 64, generator=torch.Generator().manual_seed(0)), data_type))
    assert torch.equal(dequantise(quantise(once, data_type)), once)


def test_symmetric_int4_never_uses_its_lowest_code():
    found = codes_of(quantise(torch.randn(1000, 64, generator=torch.Generator().manual_seed(0)), "int4"))
    assert found.min() == 1 and found.max() == 15


def test_codes_are_packed_upper_half_first_and_unpacked_again():
    given = torch.randint(16, (1000,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(unpack(pack(given)), given)
    assert pack(torch.tensor([0xA, 0xB], dtype=torch.uint8)).tolist() == [0xAB]


def test_packing_is_the_same_on_a_machine_that_stores_the_other_byte_first(monkeypatch):
    given = torch.randint(16, (1000,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    here = pack(given)
    monkeypatch.setattr(codes.sys, "byteorder", "big")
    assert torch.equal(pack(given), here)


def test_a_number_beside_zero_may_lose_its_sign_and_a_block_of_zeros_stays_zero():
    for data_type in codebooks.DATA_TYPES:
        assert torch.equal(dequantise(quantise(torch.zeros(3, 50), data_type)), torch.zeros(3, 50))


# --- what it takes to store ---


@pytest.mark.parametrize(("data_type", "double", "bits"), [
    ("nf4", False, 4.5), ("nf4", True, 4.127), ("fp4", True, 4.127), ("int8", False, 8.5)])
def test_a_large_matrix_takes_the_bits_that_are_counted_by_hand(data_type, double, bits):
    held = quantise(torch.ones(4096, 4096), data_type, double=double)
    assert bits_per_number(held) == pytest.approx(bits, abs=5e-4)
    by_hand = {False: 4 + 32 / 64, True: 4 + 8 / 64 + 32 / (64 * 256)}[double] + 4 * (data_type == "int8")
    assert bits_per_number(held) == pytest.approx(by_hand, abs=1e-5)  # and one offset a matrix
    tensors = [held.packed, held.scales, held.offset, held.scale_scales]
    assert storage_bytes(held) == sum(each.untyped_storage().nbytes() for each in tensors if each is not None)


# --- what is refused ---


def spoilt(value):
    tensor = torch.ones(3, 100)
    tensor[1, 7] = value
    return tensor


@pytest.mark.parametrize(("call", "words"), [
    (lambda: quantise(spoilt(math.nan)), r"tensor must be finite everywhere, got 'nan at \[1, 7\]'. Its block would"),
    (lambda: quantise(spoilt(-math.inf), "int8"), r"tensor must be finite everywhere, got '-inf at \[1, 7\]'"),
    (lambda: quantise(spoilt(math.inf).half(), "fp4", 4096), r"finite everywhere, got 'inf at \[1, 7\]'"),
    (lambda: quantise(torch.tensor(math.nan)), r"finite everywhere, got 'nan at \[\]'"),
    (lambda: quantise(torch.ones(0, 3)), r"tensor must be one with at least one number, got 'shape \(0, 3\)'"),
    (lambda: quantise(torch.ones(4, dtype=torch.int8)), "of float32, bfloat16 or float16, got 'torch.int8'. Codes and"),
    (lambda: quantise(torch.ones(4, dtype=torch.float64)), "of float64 take tensor.float()"),
    (lambda: quantise([1.0, 2.0]), "tensor must be a torch.Tensor, got 'list'"),
    (lambda: quantise(torch.ones(4), "nf"), "data_type must be one of nf4, fp4, e2m1, e3m0, int4, int8, got 'nf'. Did"),
    (lambda: quantise(torch.ones(4), None), "data_type must be one of"),
    (lambda: quantise(torch.ones(4), block_size=0), "block_size must be an even whole number, 2 or more, got 0"),
    (lambda: quantise(torch.ones(4), block_size=63), "an even whole number, 2 or more, got 63. Take 64 to begin with."),
    (lambda: quantise(torch.ones(4), block_size=-64), "an even whole number, 2 or more, got -64"),
    (lambda: quantise(torch.ones(4), block_size=64.0), "an even whole number, 2 or more, got 64.0"),
    (lambda: quantise(torch.ones(4), block_size=True), "an even whole number, 2 or more, got True"),
    (lambda: quantise(torch.full((256,), 3e38), double=True), "tensor must be of scales with a finite mean for double"),
    (lambda: quantise(torch.ones(4), double="yes"), "double must be True or False, got 'yes'"),
])
def test_what_cannot_be_quantised_is_refused_in_words(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_a_single_number_without_dimensions_is_a_block_of_its_own():
    assert dequantise(quantise(torch.tensor(-2.5))) == -2.5

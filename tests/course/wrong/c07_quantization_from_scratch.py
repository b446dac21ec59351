"""Known wrong answers to the exercises of lesson 07: by exercise, the hint each must get and its source.

A wrong answer is the official one with a few words of it changed, so that what is wrong is what is shown.
"""

from ftkit.course.catalogue import solution_source

HEAD = "import math\nimport torch\nimport torch.nn.functional as F\n\n\n"


def changed(exercise, *pairs):
    """The official answer with pieces of its source replaced, each of them once or more."""
    source = solution_source(exercise)
    for old, new in pairs:
        assert old in source, f"{exercise}: {old}"
        source = source.replace(old, new)
    return HEAD + source


WRONG = {
    "07.1": {
        "These are the codes alone": changed("07.1", (" + math.ceil(blocks * scale_bits / 8)", "")),
        "These are bits": changed("07.1", ("math.ceil(numbers * bits / 8) + math.ceil(blocks * scale_bits / 8)",
                                           "numbers * bits + blocks * scale_bits")),
        "takes half a byte": changed("07.1", ("math.ceil(numbers * bits / 8)", "numbers")),
        "scale_bits are bits as well": changed("07.1", ("math.ceil(blocks * scale_bits / 8)", "blocks * scale_bits")),
        "two scales": changed("07.1", ("blocks = math.ceil(numbers / block_size)", "blocks = 1")),
        "not one a number": changed("07.1", ("blocks = math.ceil(numbers / block_size)", "blocks = numbers")),
        "There is no half byte: round up.": changed("07.1", ("math.ceil(numbers * bits / 8)", "numbers * bits / 8")),
        "round up, not down": changed("07.1", ("math.ceil(numbers * bits / 8)", "numbers * bits // 8")),
        "A block that is begun": changed("07.1", ("math.ceil(numbers / block_size)", "numbers // block_size")),
        "stored all the same": changed("07.1", ("total += 2 * numbers", "continue")),
        "16 bits are 2 bytes, not 4": changed("07.1", ("2 * numbers", "4 * numbers")),
        "lm_head is in kept": changed("07.1", (' or path.split(".")[-1] in kept', "")),
        "norm has one dimension": changed("07.1", ("len(shape) < 2 or ", "")),
        "Neither a name in kept": changed("07.1", ('len(shape) < 2 or path.split(".")[-1] in kept', "False")),
        "one number takes both": changed("07.1", ("2 * numbers", "numbers")),
        "not_lm_head is another name": changed("07.1", ('path.split(".")[-1] in kept', "path.endswith(tuple(kept))")),
        "a path that begins with lm_head": changed("07.1", ('path.split(".")[-1] in kept',
                                                            "any(name in path for name in kept)")),
        "two weights share no byte": changed("07.1", (
            "math.ceil(numbers * bits / 8) + math.ceil(blocks * scale_bits / 8)",
            "numbers * bits / 8 + blocks * scale_bits / 8"), ("return total", "return math.ceil(total)")),
        "math.prod(shape)": changed("07.1", ("math.prod(shape)", "shape[0] * (shape[1] if len(shape) > 1 else 1)")),
        "begins no block of its own": changed("07.1", ("blocks = math.ceil(numbers / block_size)",
                                                       "blocks = shape[0] * math.ceil(shape[1] / block_size)")),
        "with the names in kept": changed("07.1", ('path.split(".")[-1] in kept', "path in kept")),
        "here 6, not 32": changed("07.1", ("math.ceil(blocks * scale_bits / 8)", "4 * blocks")),
        "here 3, not 4": changed("07.1", ("numbers * bits / 8", "numbers / 2")),
    },
    "07.2": {
        "there are 2**bits − 1 steps": changed("07.2", ("2**bits - 1", "2**bits")),
        "as far below zero as above": changed("07.2", ("x.amin(1, keepdim=True).clamp(max=0)",
                                                       "-x.abs().amax(1, keepdim=True)"),
                                              ("x.amax(1, keepdim=True)", "x.abs().amax(1, keepdim=True)"),
                                              (" + zero).clamp(max=levels)", ").clamp(min=0, max=levels)")),
        "Add the zero point before": changed("07.2", (" + zero)", ")")),
        "it is added": changed("07.2", (" + zero)", " - zero)")),
        "Codes below zero were cut off": changed("07.2", (
            "(torch.round(x / scale) + zero).clamp(max=levels)", "torch.round(x / scale).clamp(0, levels)")),
        "low is at most 0": changed("07.2", (".clamp(max=0)", "")),
        "high is at least 0": changed("07.2", (".clamp(min=0)", "")),
        "do not cut off": changed("07.2", ("torch.round(x / scale)", "(x / scale).trunc()")),
        "clamp to 2**bits − 1": changed("07.2", (".clamp(max=levels)", "")),
        "Each row has a scale of its own": changed("07.2", ("x.amin(1, keepdim=True)", "x.amin()"),
                                                   ("x.amax(1, keepdim=True)", "x.amax()")),
        "a scale for each column": changed("07.2", ("amin(1,", "amin(0,"), ("amax(1,", "amax(0,")),
        "keepdim=True": changed("07.2", (", keepdim=True", "")),
        "take 1 there": changed("07.2", ("torch.where(scale == 0, torch.ones_like(scale), scale)", "scale")),
        "has to be a whole number": changed("07.2", ("torch.round(-low / scale)", "-low / scale"),
                                            ("torch.round(x / scale) + zero", "torch.round(x / scale + zero)")),
        "Turn the codes into torch.uint8": changed("07.2", (".to(torch.uint8)", "")),
        "Add no constant to the scale": changed("07.2", ("(high - low) / levels", "(high - low) / levels + 1e-8")),
        "rounded each for itself": changed("07.2", (
            "(torch.round(x / scale) + zero)", "torch.round((x - low) / scale)")),
        "Return three things": changed("07.2", ("return codes.to(torch.uint8), scale, zero",
                                                "return codes.to(torch.uint8)")),
        "int8 ends at 127": changed("07.2", ("torch.uint8", "torch.int8")),
        "in this order": changed("07.2", ("torch.uint8), scale, zero", "torch.uint8), zero, scale")),
        "rounded to the nearest whole number": changed("07.2", (
            "torch.round(-low / scale)", "torch.floor(-low / scale)")),
    },
    "07.3": {
        "0 came in three times": changed("07.3", ("[:-1]", "")),
        "There is no 0": changed("07.3", ("count // 2)[:-1]", "count // 2 + 1)[:-1]"), ("torch.zeros(1), ", "")),
        "The larger half lies above zero": changed("07.3", (
            "torch.cat([below, torch.zeros(1), above])", "-torch.cat([below, torch.zeros(1), above])"),
            ("values / values.max()", "values / values.abs().max()")),
        "five values": changed("07.3", ("count // 2)[:-1]", "count // 2 + 1)[:-1]")),
        "flip them": changed("07.3", (".sort().values", "")),
        "flip what falls": changed("07.3", ("return values / values.max()", "return (values / values.max()).flip(0)")),
        "Divide by the largest value.": changed("07.3", (" / values.max()", "")),
        "begin at the tail": changed("07.3", ("tail, 0.5", "1.0, 0.5")),
        "That tail is NF4's": changed("07.3", ("1 - (1 / (2 * count) + 1 / (2 * (count - 1))) / 2", "0.9677083")),
        "of that and of half of one of 7": changed("07.3", ("1 - (1 / (2 * count) + 1 / (2 * (count - 1))) / 2",
                                                            "1 - 1 / (2 * count)")),
        "of that and of half of one of 8": changed("07.3", ("1 - (1 / (2 * count) + 1 / (2 * (count - 1))) / 2",
                                                            "1 - 1 / (2 * (count - 1))")),
        "This tail leaves out whole parts": changed("07.3", ("1 / (2 * count) + 1 / (2 * (count - 1))",
                                                             "1 / count + 1 / (count - 1)")),
        "These are evenly spaced": changed("07.3", (
            "values = torch.cat([below, torch.zeros(1), above]).sort().values",
            "values = torch.cat([torch.linspace(-1, 0, count // 2)[:-1], torch.linspace(0, 1, count // 2 + 1)])")),
        "count with 2**bits, not with 16": changed("07.3", ("2**bits", "16")),
        "and not the first": changed("07.3", ("[:-1]", "[1:]")),
        "quantiles with a minus": changed("07.3", ("-inverse_cdf", "inverse_cdf")),
    },
    "07.4": {
        "take all bits as one stream": changed("07.4", (
            "stream.flatten()[:count * bits].view(count, bits)",
            "F.pad(stream[:, :8 // bits * bits].flatten(), (0, 99 * bits))[:count * bits].view(count, bits)")),
        "in the highest bits of the first byte": changed("07.4", ("torch.arange(7, -1, -1)", "torch.arange(8)"),
                                                         ("torch.arange(bits - 1, -1, -1)", "torch.arange(bits)")),
        "Within a code the highest bit comes first": changed("07.4", ("torch.arange(bits - 1, -1, -1)",
                                                                      "torch.arange(bits)")),
        "The bytes are in order": changed("07.4", ("packed[:, None]", "packed.flip(0)[:, None]")),
        "Only count codes are wanted": changed("07.4", (
            "stream.flatten()[:count * bits].view(count, bits)",
            "stream.flatten()[:stream.numel() // bits * bits].view(-1, bits)")),
        "no whole number of codes of 3": changed("07.4", (
            "[:count * bits].view(count, bits)", ".view(-1, bits)[:count]")),
        "The first code is in the upper half": HEAD + (
            "def unpack_bits(packed, bits, count):\n"
            "    if bits == 4:\n"
            "        return torch.stack([packed & 15, packed >> 4], 1).flatten()[:count]\n"
            "    stream = (packed[:, None] >> torch.arange(7, -1, -1)) & 1\n"
            "    groups = stream.flatten()[:count * bits].view(count, bits)\n"
            "    return (groups * 2 ** torch.arange(bits - 1, -1, -1)).sum(1).to(torch.uint8)\n"),
        "A byte goes up to 255": changed("07.4", ("to(torch.uint8)", "to(torch.int8)")),
        "Turn the codes into torch.uint8": changed("07.4", (".to(torch.uint8)", "")),
        "more than two codes": changed("07.4", (
            "stream.flatten()[:count * bits].view(count, bits)", "stream[:, :bits]")),
        "shift by 7, 6": changed("07.4", ("torch.arange(7, -1, -1)", "torch.arange(8)")),
        "lie side by side": changed("07.4", (".view(count, bits)", ".view(bits, count).T")),
        "powers of two": changed("07.4", ("2 ** torch.arange(bits - 1, -1, -1)", "torch.arange(bits, 0, -1)")),
        "is at most 7": changed("07.4", ("& 1", "& 7")),
    },
    "07.5": {
        "Return the exponent, not the power of two": changed("07.5", ("exponent.to(torch.int8)",
                                                                      "(2.0 ** exponent).to(torch.int8)")),
        "4 is a power of two itself": changed("07.5", ("exponent - (mantissa == 0.5).int()", "exponent")),
        "Round up: a power of two below": changed("07.5", ("exponent - (mantissa == 0.5).int()", "exponent - 1")),
        "Round up, not to the nearest": changed("07.5", ("(mantissa == 0.5).int()", "(mantissa < 0.7071).int()")),
        "Divide by the scale before": changed("07.5", ("torch.ldexp(blocks, -exponent[:, None])", "blocks")),
        "take the largest number of each": changed("07.5", ("blocks.abs().amax(1)", "blocks.abs().amax().view(1)")),
        "One exponent a block": changed("07.5", ("amax(1)", "amax(0)")),
        "take the absolute value first": changed("07.5", ("blocks.abs().amax(1)", "blocks.amax(1)")),
        "a block of zeros has exponent 0": changed("07.5", (
            "mantissa, exponent = torch.frexp(blocks.abs().amax(1))",
            "exponent = torch.ceil(torch.log2(blocks.abs().amax(1)))"),
            ("    exponent = exponent - (mantissa == 0.5).int()\n", "")),
        "Codes in the shape of x": changed("07.5", (".view(x.shape)", "")),
        "The last block was filled": changed("07.5", ("[:x.numel()].view(x.shape)", "")),
        "fill the last one with zeros": changed("07.5", ("F.pad(x.flatten(), (0, -x.numel() % block_size))",
                                                         "x.flatten()")),
        "The last block is only begun": changed("07.5", (
            "F.pad(x.flatten(), (0, -x.numel() % block_size))", "x.flatten()[:x.numel() // block_size * block_size]"),
            ("[:x.numel()].view(x.shape)", ".view(-1, 2)")),
        "Of two equally near values the smaller": changed("07.5", ("/ 2)\n", "/ 2, right=True)\n")),
        "8 bits hold an exponent": changed("07.5", (".to(torch.int8)", "")),
        "compare with the midpoints": changed("07.5", ("(values[1:] + values[:-1]) / 2", "values")),
        "do not clamp them": changed("07.5", ("(mantissa == 0.5).int()", "(mantissa == 0.5).int()\n"
                                              "    exponent = exponent.clamp(-30, 30)")),
        "not the values": changed("07.5", ("return codes.flatten()", "return values[codes].flatten()")),
        "Row after row": changed("07.5", ("x.flatten()", "x.T.flatten()")),
        "need not be evenly spaced": changed("07.5", ("torch.bucketize(scaled, (values[1:] + values[:-1]) / 2)",
                                                      "torch.ceil((scaled + 1) / 2 * (len(values) - 1) - 0.5).long()")),
    },
    "07.6": {
        "The zero point has to come off": changed("07.6", (" - x.sum(-1, keepdim=True) * zero", "")),
        "Each output is multiplied by its scale": changed("07.6", ("summed * scale", "summed")),
        "take it off before multiplying": changed("07.6", (
            " - x.sum(-1, keepdim=True) * zero", ""),
            ("summed * scale +", "summed * scale - x.sum(-1, keepdim=True) * zero +")),
        "A row of codes belongs to an output": changed("07.6", ("F.linear(x, codes.to(x.dtype))",
                                                                "x @ codes.to(x.dtype)")),
        "add it only where there is one": changed("07.6", ("(0 if bias is None else bias)", "bias")),
        "∂y/∂x is (codes − zero)·scale": changed("07.6", (" - (scaled * zero).sum(-1, keepdim=True)", "")),
        "scaled as codes are": changed("07.6", ("(scaled * zero).sum", "(grad_y * zero).sum")),
        "Multiply the gradient by the scales": changed("07.6", ("scaled = grad_y * scale", "scaled = grad_y")),
        "the product without transposing": changed("07.6", ("codes.to(grad_y.dtype) -", "codes.to(grad_y.dtype).T -")),
        "return one for x": changed("07.6", ("return grad_x, None", "return None, None")),
        "one value for each input of forward": changed("07.6", ("None, None, None, grad_bias", "grad_bias")),
        "Add the gradients of all rows up": changed("07.6", (".sum(0)", "[0]")),
        "its gradient has no scale": changed("07.6", ("grad_bias = grad_y.reshape(-1, grad_y.shape[-1])",
                                                      "grad_bias = (grad_y * scale).reshape(-1, grad_y.shape[-1])")),
        "a gradient for the bias where it needs one": changed("07.6", ("None, None, None, grad_bias",
                                                                       "None, None, None, None")),
        "Something of the weight's size is kept": changed("07.6", (
            "ctx.save_for_backward(codes, scale, zero)",
            "ctx.save_for_backward(codes, scale, zero)\n"
            "        ctx.weight = (codes - zero[:, None]) * scale[:, None]")),
        "x is kept and is not needed": changed("07.6", (
            "ctx.save_for_backward(codes, scale, zero)", "ctx.save_for_backward(x, codes, scale, zero)"),
            ("codes, scale, zero = ctx", "_, codes, scale, zero = ctx")),
        "x asks for no gradient here": changed("07.6", ("if ctx.needs_input_grad[0]:", "if True:")),
        "bias asks for no gradient here": changed("07.6", ("if ctx.needs_input_grad[4]:", "if True:")),
        "turn them into the type of x": changed("07.6", ("codes.to(x.dtype)", "codes")),
        "The bias is added after scaling.": changed("07.6", ("summed * scale + (0 if bias is None else bias)",
                                                             "(summed + (0 if bias is None else bias)) * scale")),
        "Each row of x has a sum": changed("07.6", ("x.sum(-1, keepdim=True)", "x.sum()")),
        "Each row has a sum of its own": changed("07.6", (
            "(scaled * zero).sum(-1, keepdim=True)", "(scaled * zero).sum()")),
        "Codes go up to": changed("07.6", ("codes.to(x.dtype)", "codes.to(torch.int8).to(x.dtype)")),
    },
}

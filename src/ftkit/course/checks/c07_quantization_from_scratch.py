"""What an answer to an exercise of lesson 07 is judged by: the cases stand in modules of their own."""

from ftkit.course.cases import Check
from ftkit.course.checks import packed_codes, quantile_books, quantising, row_products

CHECKS = {
    "07.1": Check("stored_bytes", "How many bytes a quantised model takes", 1, 6, quantising.stored),
    "07.2": Check("quantise_rows", "A zero point: codes for rows that are not centred", 2, 10, quantising.rows),
    "07.3": Check("quantile_codebook", "A codebook for any distribution and width", 3, 12, quantile_books.quantiles),
    "07.4": Check("unpack_bits", "Codes that cross the border of a byte", 3, 12, packed_codes.bits),
    "07.5": Check("power_of_two_blocks", "Scales that are powers of two", 4, 15, packed_codes.powers),
    "07.6": Check("RowCodesProduct", "Gradients through codes with a zero point", 5, 20, row_products.product),
}

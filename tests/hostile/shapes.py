"""Types and sizes: too large, too many, or of a kind no device has."""

from __future__ import annotations

import errno
from pathlib import Path

from tests.hostile.case import HARMLESS, VECTOR, Case, Ending, Stop, harmless, main, one

DATA = Path(__file__).parent / "data"
TERA = 1 << 40
MANY = "tensor<1000xf32>"  # a few are sorted in a way that takes any order
COMPARE = (
    "^bb0(%a: tensor<f32>, %b: tensor<f32>):\n"
    "    %c = stablehlo.compare {}, %{}, %{} : (tensor<f32>, tensor<f32>) -> tensor<i1>\n"
    "    stablehlo.return %c : tensor<i1>"
)


def typed(kind: str) -> str:
    """A program with an argument of a type, which it does not look at."""
    return f"func.func @main(%x: {kind}) {{ return }}"


def converted(element: str) -> str:
    """A program that has an element type inside only."""
    return main(
        f"%a = stablehlo.convert %x : ({VECTOR}) -> tensor<4x{element}>",
        f"%r = stablehlo.convert %a : (tensor<4x{element}>) -> {VECTOR}",
    )


def ranked(rank: int) -> str:
    return one(f"stablehlo.negate %x : tensor<{'1x' * rank}f32>", f"tensor<{'1x' * rank}f32>")


def sort(kind: str, compare: str, source: str = "%x") -> str:
    head = f'"stablehlo.sort"({source}) ({{\n{compare}\n  }})'
    return f"{head} {{dimension = 0 : i64}} : ({kind}) -> {kind}"


def terabyte_sort() -> str:
    kind = f"tensor<{TERA}xf32>"
    return main(
        f"%i = stablehlo.iota dim = 0 : {kind}",
        f"%s = {sort(kind, COMPARE.format('LT', 'a', 'b'), '%i')}",
        f"%q = stablehlo.slice %s [0:4] : ({kind}) -> {VECTOR}",
        f"%r = stablehlo.add %q, %x : {VECTOR}",
    )


def terabyte_constant() -> str:
    kind = f"tensor<{TERA}xf32>"
    return main(f"%r = stablehlo.constant dense<1.0> : {kind}", gives=kind)


def padded(low: str, high: str, interior: str, gives: str = VECTOR) -> str:
    return main(
        "%z = stablehlo.constant dense<0.0> : tensor<f32>",
        f"%r = stablehlo.pad %x, %z, low = [{low}], high = [{high}], interior = [{interior}]"
        f" : ({VECTOR}, tensor<f32>) -> {gives}",
        gives=gives,
    )


def window(attributes: str, gives: str = VECTOR) -> str:
    return main(
        "%z = stablehlo.constant dense<0.0> : tensor<f32>",
        '%r = "stablehlo.reduce_window"(%x, %z) ({',
        "^bb0(%a: tensor<f32>, %b: tensor<f32>):",
        "  %s = stablehlo.add %a, %b : tensor<f32>",
        "  stablehlo.return %s : tensor<f32>",
        f"}}) {{{attributes}}} : ({VECTOR}, tensor<f32>) -> {gives}",
        gives=gives,
    )


def divided(element: str, name: str, left: str, right: str) -> str:
    kind = f"tensor<{element}>"
    return main(
        f"%a = stablehlo.constant dense<{left}> : {kind}",
        f"%b = stablehlo.constant dense<{right}> : {kind}",
        f"%r = stablehlo.{name} %a, %b : {kind}",
        takes="",
        gives=kind,
    )


def fft(length: int) -> str:
    return one(
        f"stablehlo.fft %x, type = FFT, length = [{length}]"
        " : (tensor<4xcomplex<f32>>) -> tensor<4xcomplex<f32>>",
        "tensor<4xcomplex<f32>>",
    )


def large_text_constant() -> str:
    words = '"0x' + "00" * 4_000_000 + '"'
    return one(f"stablehlo.constant dense<{words}> : {VECTOR}")


CASES: dict[str, Case] = {
    "elements_overflow": Case(
        "2^62 x 8 elements", typed(f"tensor<{1 << 62}x8xf32>"), Stop.CHECK, "over 2^46 elements"
    ),
    "elements_overflow_to_zero": Case(
        "2^32 x 2^32 elements, 0 in 64 bits",
        typed(f"tensor<{1 << 32}x{1 << 32}xf32>"),
        Stop.CHECK,
        "over 2^46 elements",
    ),
    "elements_overflow_inside": Case(
        "the same, inside the program",
        main(
            f"%a = stablehlo.broadcast_in_dim %x, dims = [2] : ({VECTOR})"
            f" -> tensor<{1 << 32}x{1 << 32}x4xf32>",
            f"%r = stablehlo.negate %x : {VECTOR}",
        ),
        Stop.CHECK,
        "over 2^46 elements",
    ),
    "dimension_overflow": Case(
        "a dimension over 64 bits",
        typed("tensor<99999999999999999999xf32>"),
        Stop.PARSER,
        "invalid dimension",
    ),
    "dimension_negative": Case(
        "a negative dimension", typed("tensor<-1xf32>"), Stop.PARSER, "expected non-function type"
    ),
    "dimension_negative_stored": Case(
        "a negative dimension in an artifact, which the fuzzer found",
        (DATA / "negative_dimension.portable").read_bytes(),
        Stop.CHECK,
        "negative dimension",
    ),
    "dimension_zero": harmless(
        "arrays without elements", one("stablehlo.negate %x : tensor<0x4xf32>", "tensor<0x4xf32>")
    ),
    "dimension_zero_times_huge": Case(
        "0 x 2^62 x 2^62 elements",
        typed(f"tensor<0x{1 << 62}x{1 << 62}xf32>"),
        Stop.CHECK,
        "over 2^46 elements",
    ),
    "rank_65": Case("65 dimensions", ranked(65), Stop.CHECK, "dimensions"),
    "rank_5000": Case("5,000 dimensions", ranked(5000), Stop.CHECK, "dimensions"),
    "dynamic": Case(
        "a dynamic shape nobody tells", typed("tensor<?xf32>"), Stop.CHECK, "come with the call"
    ),
    "bounded": Case(
        "a dynamic shape with a bound",
        typed("tensor<?xf32, #stablehlo.bounds<4>>"),
        Stop.CHECK,
        "dynamic shapes",
    ),
    "unranked": Case("any shape", typed("tensor<*xf32>"), Stop.CHECK, "only arrays"),
    "sparse": Case(
        "a sparse layout",
        "#s = #sparse_tensor.encoding<{ map = (d0) -> (d0 : compressed) }>\n"
        + one("stablehlo.negate %x : tensor<4xf32, #s>", "tensor<4xf32, #s>"),
        Stop.CHECK,
        "only plain arrays are supported, without an encoding",
    ),
    "encoding": Case(
        "an attribute in a type",
        one('stablehlo.negate %x : tensor<4xf32, "evil">', 'tensor<4xf32, "evil">'),
        Stop.CHECK,
        "without an encoding",
    ),
    "quantized": Case(
        "a quantized type",
        typed("tensor<4x!quant.uniform<i8:f32, 2.0:15>>"),
        Stop.CHECK,
        "the element type !quant.uniform<i8:f32, 2.0:15> is not supported",
    ),
    "complex_of_int": Case(
        "complex<i32>", typed("tensor<4xcomplex<i32>>"), Stop.CHECK, "complex<i32> is not supported"
    ),
    "complex_of_bf16": Case(
        "complex<bf16>",
        typed("tensor<4xcomplex<bf16>>"),
        Stop.CHECK,
        "complex<bf16> is not supported",
    ),
    "index_elements": Case(
        "tensor<4xindex>", typed("tensor<4xindex>"), Stop.CHECK, "not supported"
    ),
    "i3_elements": Case("tensor<4xi3>", typed("tensor<4xi3>"), Stop.CHECK, "not supported"),
    "i128_inside": Case(
        "i128 inside", converted("i128"), Stop.VERIFIER, "'stablehlo.convert' op result"
    ),
    "f6_argument": Case(
        "an f6 argument", typed("tensor<4xf6E2M3FN>"), Stop.CHECK, "f6E2M3FN is not supported"
    ),
    "f6_inside": Case("f6 inside", converted("f6E3M2FN"), Stop.CHECK, "tensor<4xf6E3M2FN>"),
    "memref": Case("a memref", typed("memref<4xf32>"), Stop.CHECK, "only arrays"),
    "token_argument": Case(
        "a token for argument", typed("!stablehlo.token"), Stop.CHECK, "only arrays"
    ),
    "terabyte_result": Case(
        "a result of 1 TB",
        main(
            f"%r = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<i8>) -> tensor<{TERA}xi8>",
            takes="%x: tensor<i8>",
            gives=f"tensor<{TERA}xi8>",
        ),
        Stop.ENGINE,
        str(TERA),
        errno.ENOSPC,
    ),
    "terabyte_temporary": Case(
        "sorting 4 TB",
        terabyte_sort,
        Stop.ENGINE,
        str(4 * TERA),
        errno.ENOSPC,
        Ending(Stop.CRASH, "SIGFPE", errno.EINVAL),
    ),
    "terabyte_constant": Case(
        "a constant of 4 TB", terabyte_constant, Stop.ENGINE, str(4 * TERA), errno.ENOSPC
    ),
    "constant_hex_odd": Case(
        "a constant of hex digits that are none",
        one(f'stablehlo.constant dense<"0xZZ"> : {VECTOR}'),
        Stop.PARSER,
        "hex digits",
    ),
    "constant_hex_long": Case(
        "4 MB for a constant of 16 bytes",
        large_text_constant,
        Stop.PARSER,
        "hex data size is invalid",
    ),
    "order_of_complex": Case(
        "the largest of numbers that have no order",
        "func.func @main(%x: tensor<5xcomplex<f32>>) -> tensor<2xi32> {\n"
        "  %v, %i = chlo.top_k(%x, k = 2)"
        " : tensor<5xcomplex<f32>> -> (tensor<2xcomplex<f32>>, tensor<2xi32>)\n"
        "  return %i : tensor<2xi32>\n}",
        Stop.COMPILER,
        "the compiler refused",
    ),
    "constant_resource_missing": Case(
        "a constant whose bytes are nowhere",
        one(f"stablehlo.constant dense_resource<nowhere> : {VECTOR}"),
        Stop.CHECK,
        "the file has no resource nowhere",
    ),
    "constant_resource_short": Case(
        "a constant whose bytes end too early",
        one(f"stablehlo.constant dense_resource<blob> : {VECTOR}")
        + '{-#\n  dialect_resources: { builtin: { blob: "0x04000000FF" } }\n#-}\n',
        Stop.CHECK,
        "the resource blob has 1 bytes",
    ),
    "constant_resource_alignment": Case(
        "a constant aligned to nonsense",
        one(f"stablehlo.constant dense_resource<blob> : {VECTOR}")
        + '{-#\n  dialect_resources: { builtin: { blob: "0xFDFFFFFF'
        + "00" * 16
        + '" } }\n#-}\n',
        Stop.PARSER,
        "encode alignment",
    ),
    "divide_by_zero": Case(
        "1/0 the compiler works out",
        divided("i32", "divide", "1", "0"),
        Stop.CRASH,
        "SIGFPE",
        newer=HARMLESS,
    ),
    "remainder_by_zero": Case(
        "1%0 the compiler works out",
        divided("i64", "remainder", "1", "0"),
        Stop.CRASH,
        "SIGFPE",
        newer=HARMLESS,
    ),
    "divide_overflow": harmless(
        "the smallest number divided by -1", divided("i32", "divide", "-2147483648", "-1")
    ),
    "shift_too_far": harmless("1 << 1000", divided("i32", "shift_left", "1", "1000")),
    "sort_inconsistent": Case(
        "sorting by a relation that is no order",
        one(sort(MANY, COMPARE.format("NE", "a", "b")), MANY),
        Stop.ENGINE,
        "SIGSEGV",
        errno.EIO,
    ),
    "fft_too_long": Case(
        "a transform of 64 of 4 numbers", fft(64), Stop.CHECK, "fft of length [64]"
    ),
    "fft_of_nothing": Case("a transform of 0 numbers", fft(0), Stop.CHECK, "fft of length [0]"),
    "fft_negative": Case("a transform of -4 numbers", fft(-4), Stop.CHECK, "fft of length [-4]"),
    "fft_real_and_back": harmless(
        "transforms of the length XLA expects",
        main(
            "%a = stablehlo.fft %x, type = RFFT, length = [4]"
            " : (tensor<3x4xf32>) -> tensor<3x3xcomplex<f32>>",
            "%b = stablehlo.fft %a, type = IRFFT, length = [4]"
            " : (tensor<3x3xcomplex<f32>>) -> tensor<3x4xf32>",
            "%r = stablehlo.negate %b : tensor<3x4xf32>",
            takes="%x: tensor<3x4xf32>",
            gives="tensor<3x4xf32>",
        ),
    ),
    "fft_back_too_long": Case(
        "a transform back to 64 numbers from 3",
        main(
            "%r = stablehlo.fft %x, type = IRFFT, length = [64]"
            " : (tensor<3xcomplex<f32>>) -> tensor<64xf32>",
            takes="%x: tensor<3xcomplex<f32>>",
            gives="tensor<64xf32>",
        ),
        Stop.VERIFIER,
        "IRFFT requires",
    ),
    "pad_interior_negative": Case(
        "padding by -1 within",
        padded("0", "0", "-1", "tensor<1xf32>"),
        Stop.VERIFIER,
        "padding cannot be negative",
    ),
    "pad_overflow": Case(
        "padding by 2^62 twice",
        padded(str(1 << 62), str(1 << 62), "0"),
        Stop.VERIFIER,
        "negative size",
    ),
    "window_of_nothing": Case(
        "a window of 0", window("window_dimensions = array<i64: 0>"), Stop.PARSER, "positive value"
    ),
    "window_stride_zero": Case(
        "a stride of 0",
        window("window_dimensions = array<i64: 1>, window_strides = array<i64: 0>"),
        Stop.PARSER,
        "positive stride",
    ),
    "iota_dimension": Case(
        "iota along dimension 7",
        main(f"%r = stablehlo.iota dim = 7 : {VECTOR}"),
        Stop.PARSER,
        "iota dimension",
    ),
    "groups_zero": Case(
        "a convolution of 0 groups",
        one(
            "stablehlo.convolution(%x, %x) dim_numbers = [b, f, 0]x[i, o, 0]->[b, f, 0],"
            " window = {} {batch_group_count = 1 : i64, feature_group_count = 0 : i64}"
            " : (tensor<1x1x4xf32>, tensor<1x1x4xf32>) -> tensor<1x1x4xf32>",
            "tensor<1x1x4xf32>",
        ),
        Stop.PARSER,
        "'feature_group_count'",
    ),
}

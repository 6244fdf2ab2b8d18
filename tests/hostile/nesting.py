"""What overflows a stack, or grows without bound when it is written out."""

from __future__ import annotations

import errno

from tests.hostile.case import VECTOR, Case, Stop, harmless, main, one

DEEP = 100_000
IFS = 500
LOOPS = 150  # under the limit of nesting
DOUBLINGS = 60
LONG = 1_000_000


def nested_ifs() -> str:
    return (
        "func.func @main(%p: tensor<i1>) {\n"
        + '"stablehlo.if"(%p) ({\n' * IFS
        + '"stablehlo.return"() : () -> ()\n'
        + "}, {}) : (tensor<i1>) -> ()\n" * IFS
        + "return }"
    )


def nested_loops() -> str:
    head = "%r{0} = stablehlo.while(%i{0} = %i{1}) : tensor<f32> cond {{\n"
    cond = (
        "%t{0} = stablehlo.constant dense<false> : tensor<i1>\nstablehlo.return %t{0} : tensor<i1>"
    )
    open_ = "".join(head.format(i + 1, i) + cond.format(i + 1) + "\n} do {\n" for i in range(LOOPS))
    close = "".join(
        f"stablehlo.return %r{i + 1} : tensor<f32>\n}}\n" for i in range(LOOPS - 1, 0, -1)
    )
    inner = f"stablehlo.return %i{LOOPS} : tensor<f32>\n}}\n"
    return (
        f"func.func @main(%i0: tensor<f32>) -> tensor<f32> {{\n{open_}{inner}{close}"
        "return %r1 : tensor<f32>\n}"
    )


def nested_modules() -> str:
    return "module {\n" * DEEP + "}\n" * DEEP


def type_bomb() -> str:
    doubled = "".join(f"!t{i + 1} = tuple<!t{i}, !t{i}>\n" for i in range(DOUBLINGS))
    return f"!t0 = tuple<f32, f32>\n{doubled}func.func @main(%x: !t{DOUBLINGS}) {{ return }}"


def inner_type_bomb() -> str:
    doubled = "".join(
        f"%t{i + 1} = stablehlo.tuple %t{i}, %t{i} : !t{i + 1}\n" for i in range(DOUBLINGS)
    )
    types = "!t0 = tensor<4xf32>\n" + "".join(
        f"!t{i + 1} = tuple<!t{i}, !t{i}>\n" for i in range(DOUBLINGS)
    )
    return types + main(doubled, f"%r = stablehlo.negate %t0 : {VECTOR}", takes=f"%t0: {VECTOR}")


def attribute_bomb() -> str:
    doubled = "".join(f"#t{i + 1} = [#t{i}, #t{i}]\n" for i in range(DOUBLINGS))
    return f"#t0 = [1, 1]\n{doubled}" + one(f"stablehlo.negate %x {{a = #t{DOUBLINGS}}} : {VECTOR}")


def location_bomb() -> str:
    doubled = "".join(f"#l{i + 1} = loc(fused[#l{i}, #l{i}])\n" for i in range(DOUBLINGS))
    return one(f"stablehlo.negate %x : {VECTOR} loc(#l{DOUBLINGS})") + '#l0 = loc("a")\n' + doubled


CASES: dict[str, Case] = {
    "types_100000_deep": Case(
        "tuple<tuple<... 100,000 deep",
        lambda: "func.func @main(%x: " + "tuple<" * DEEP + ">" * DEEP + ") { return }",
        Stop.PREFILTER,
        "nested over 200 deep",
    ),
    "attributes_100000_deep": Case(
        "[[... 100,000 deep",
        lambda: one("stablehlo.negate %x {a = " + "[" * DEEP + "]" * DEEP + f"}} : {VECTOR}"),
        Stop.PREFILTER,
        "nested over 200 deep",
    ),
    "locations_100000_deep": Case(
        "loc(callsite(... 100,000 deep",
        lambda: one(
            f"stablehlo.negate %x : {VECTOR} loc("
            + 'callsite("a" at ' * DEEP
            + '"b"'
            + ")" * DEEP
            + ")"
        ),
        Stop.PREFILTER,
        "nested over 200 deep",
    ),
    "modules_100000_deep": Case(
        "modules 100,000 deep", nested_modules, Stop.PREFILTER, "nested over 200 deep"
    ),
    "brackets_hidden_in_strings": Case(
        "100,000 brackets after a quote that is never closed",
        lambda: 'func.func @main() { "\n' + "(" * DEEP,
        Stop.PREFILTER,
        "nested over 200 deep",
    ),
    "ifs_500_deep": Case(
        "500 ifs within one another", nested_ifs, Stop.PREFILTER, "nested over 200 deep"
    ),
    "loops_150_deep": Case("150 loops within one another", nested_loops, Stop.NOBODY, errno=0),
    "quotes_quadratic": Case(
        "a million escaped quotes, none closed",
        lambda: '"' + '\\"' * 1_000_000,
        Stop.PARSER,
        "expected '\"' in string literal",
    ),
    "type_bomb": Case(
        "a type that is 2^60 characters long when it is printed",
        type_bomb,
        Stop.CHECK,
        "only arrays",
    ),
    "inner_type_bomb": Case(
        "the same inside the program, where MLIR's verifier walks it",
        inner_type_bomb,
        Stop.DEADLINE,
        "reading the program took over",
        errno.ETIMEDOUT,
    ),
    "attribute_bomb": Case(
        "an attribute that is 2^60 numbers when it is printed",
        attribute_bomb,
        Stop.DEADLINE,
        "reading the program took over",
        errno.ETIMEDOUT,
    ),
    "location_bomb": harmless("a location with 2^60 parts", location_bomb),
    "type_alias_cycle": Case(
        "a type alias made of itself",
        "!a = tuple<!a>\nfunc.func @main(%x: !a) { return }",
        Stop.PARSER,
        "undefined symbol alias id 'a'",
    ),
    "type_alias_mutual": Case(
        "two type aliases made of each other",
        "!a = tuple<!b>\n!b = tuple<!a>\nfunc.func @main(%x: !a) { return }",
        Stop.PARSER,
        "undefined symbol alias id",
    ),
    "location_cycle": Case(
        "a location made of itself",
        one(f"stablehlo.negate %x : {VECTOR} loc(#l)") + "#l = loc(fused[#l])\n",
        Stop.PARSER,
        "undefined symbol alias id 'l'",
    ),
    "location_huge": harmless(
        "a location of 1 MB",
        lambda: one(f'stablehlo.negate %x : {VECTOR} loc("' + "a" * LONG + '":1:1)'),
    ),
    "name_huge": harmless(
        "an argument's name of 1 MB",
        lambda: one(f"stablehlo.negate %x : {VECTOR}").replace("%x", "%" + "x" * LONG),
    ),
}

"""Functions, calls, loops and what talks to the host."""

from __future__ import annotations

import errno
import itertools

from tests.hostile.case import HARMLESS, VECTOR, Case, Stop, harmless, main, one

SCALAR = "tensor<f32>"
CALL = f"({SCALAR}) -> {SCALAR}"
CALLS_DOUBLE = 40  # functions, each calling the next one twice
CALLS_DEEP = 5000
CHAIN = 20_000
INPUTS = 1000
TOKEN = "!stablehlo.token"
CHANNEL = "channel_handle = #stablehlo.channel_handle<handle = 1, type = {}>"
ENDLESS = main(
    f"%r = stablehlo.while(%i = %x) : {VECTOR}",
    "cond {",
    "  %t = stablehlo.constant dense<true> : tensor<i1>",
    "  stablehlo.return %t : tensor<i1>",
    "} do {",
    f"  %n = stablehlo.add %i, %i : {VECTOR}",
    f"  stablehlo.return %n : {VECTOR}",
    "}",
)


def function(name: str, *lines: str, visibility: str = "private ") -> str:
    inner = "".join(f"  {line}\n" for line in lines)
    return (
        f"func.func {visibility}@{name}(%x: {SCALAR}) -> {SCALAR} {{\n"
        f"{inner}  return %r : {SCALAR}\n}}\n"
    )


def calling(name: str, callee: str) -> str:
    visibility = "" if name == "main" else "private "
    return function(name, f"%r = call @{callee}(%x) : {CALL}", visibility=visibility)


def call_graph() -> str:
    twice = "".join(
        function(f"f{i}", f"%a = call @f{i + 1}(%x) : {CALL}", f"%r = call @f{i + 1}(%a) : {CALL}")
        for i in range(CALLS_DOUBLE)
    )
    last = function(f"f{CALLS_DOUBLE}", f"%r = stablehlo.tanh %x : {SCALAR}")
    return calling("main", "f0") + twice + last


def call_chain() -> str:
    chain = "".join(calling(f"f{i}", f"f{i + 1}") for i in range(CALLS_DEEP))
    return (
        calling("main", "f0")
        + chain
        + function(f"f{CALLS_DEEP}", f"%r = stablehlo.tanh %x : {SCALAR}")
    )


def chain(length: int = CHAIN) -> str:
    names = ["x", *(f"a{i}" for i in range(1, length)), "r"]
    pairs = itertools.pairwise(names)
    return main(*(f"%{new} = stablehlo.tanh %{old} : {VECTOR}" for old, new in pairs))


def many_inputs() -> str:
    takes = ", ".join(f"%x{i}: {VECTOR}" for i in range(INPUTS))
    return main(f"%r = stablehlo.add %x0, %x{INPUTS - 1} : {VECTOR}", takes=takes)


def through_token(*operations: str) -> str:
    return main(
        f"%t = stablehlo.create_token : {TOKEN}",
        *operations,
        f"%r = stablehlo.negate %x : {VECTOR}",
    )


def collective(name: str, attributes: str) -> str:
    return main(
        f'%r = "stablehlo.{name}"(%x) ({{',
        f"^bb0(%a: {SCALAR}, %b: {SCALAR}):",
        f"  %s = stablehlo.add %a, %b : {SCALAR}",
        f"  stablehlo.return %s : {SCALAR}",
        f"}}) {{{attributes}, {CHANNEL.format(1)}}} : ({VECTOR}) -> {VECTOR}",
    )


CASES: dict[str, Case] = {
    "recursion_direct": Case(
        "a function that calls itself", calling("main", "main"), Stop.CHECK, "@main calls itself"
    ),
    "recursion_mutual": Case(
        "two functions that call each other",
        calling("main", "f") + calling("f", "g") + calling("g", "f"),
        Stop.CHECK,
        "@f calls itself",
    ),
    "recursion_in_loop": Case(
        "recursion inside the body of a loop",
        ENDLESS.replace(
            f"stablehlo.add %i, %i : {VECTOR}", f"func.call @main(%i) : ({VECTOR}) -> {VECTOR}"
        ),
        Stop.CHECK,
        "@main calls itself",
    ),
    "recursion_in_composite": Case(
        "a composite whose decomposition is itself",
        one('stablehlo.composite "a.b" %x {decomposition = @main} : (' + VECTOR + ") -> " + VECTOR),
        Stop.CHECK,
        "calls itself",
    ),
    "call_graph_2_40": Case(
        "40 functions, each calling the next one twice",
        call_graph,
        Stop.CHECK,
        "operations with its calls inlined",
    ),
    "call_chain_5000": Case(
        "5,000 functions, each calling the next", call_chain, Stop.CRASH, "SIGSEGV", newer=HARMLESS
    ),
    "callee_missing": Case("a call of nothing", calling("main", "f"), Stop.VERIFIER, "'f'"),
    "no_main": Case(
        "no entry: which of two is it?",
        function("start", f"%r = stablehlo.tanh %x : {SCALAR}")
        + function("begin", f"%r = stablehlo.tanh %x : {SCALAR}"),
        Stop.CHECK,
        "no function @main",
    ),
    "no_functions": Case("an empty module", "module {}", Stop.CHECK, "no function at all"),
    "private_main": Case(
        "a private entry",
        function("main", f"%r = stablehlo.tanh %x : {SCALAR}"),
        Stop.CHECK,
        "@main is private",
    ),
    "two_mains": Case(
        "two entries",
        2 * one(f"stablehlo.tanh %x : {VECTOR}"),
        Stop.VERIFIER,
        "redefinition of symbol",
    ),
    "duplicate_symbols": Case(
        "two functions of one name",
        calling("main", "f") + 2 * function("f", f"%r = stablehlo.tanh %x : {SCALAR}"),
        Stop.VERIFIER,
        "redefinition of symbol",
    ),
    "main_without_body": Case(
        "an entry that is only declared",
        "func.func @main(tensor<f32>) -> tensor<f32>",
        Stop.VERIFIER,
        "declaration cannot have public visibility",
    ),
    "function_without_body": Case(
        "a function that is only declared",
        calling("main", "f") + f"func.func private @f({SCALAR}) -> {SCALAR}",
        Stop.CHECK,
        "has no body",
    ),
    "main_is_a_module": Case(
        "an entry that is no function",
        "module { module @main {} }",
        Stop.CHECK,
        "no function @main",
    ),
    "endless_loop": Case("while true", ENDLESS, Stop.ENGINE, errno=0),
    "infeed": Case(
        "waiting for the host's data",
        through_token(f'%i:2 = "stablehlo.infeed"(%t) : ({TOKEN}) -> ({VECTOR}, {TOKEN})'),
        Stop.CHECK,
        "stablehlo.infeed talks to the host",
    ),
    "outfeed": Case(
        "handing data to the host",
        through_token(f'%o = "stablehlo.outfeed"(%x, %t) : ({VECTOR}, {TOKEN}) -> {TOKEN}'),
        Stop.CHECK,
        "stablehlo.outfeed talks to the host",
    ),
    "send": Case(
        "a channel to the host",
        through_token(
            f'%o = "stablehlo.send"(%x, %t) {{{CHANNEL.format(2)}, is_host_transfer = true}}'
            f" : ({VECTOR}, {TOKEN}) -> {TOKEN}"
        ),
        Stop.CHECK,
        "stablehlo.send talks to the host",
    ),
    "recv": Case(
        "a channel from the host",
        through_token(
            f'%i:2 = "stablehlo.recv"(%t) {{{CHANNEL.format(3)}, is_host_transfer = true}}'
            f" : ({TOKEN}) -> ({VECTOR}, {TOKEN})"
        ),
        Stop.CHECK,
        "stablehlo.recv talks to the host",
    ),
    "all_reduce_of_two": Case(
        "a sum with a device that is not there",
        collective("all_reduce", "replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>"),
        Stop.CHECK,
        "other devices than 0",
    ),
    "all_reduce_of_another": Case(
        "a sum among others",
        collective("all_reduce", "replica_groups = dense<[[7]]> : tensor<1x1xi64>"),
        Stop.PARSER,
        "not seen in replica groups",
    ),
    "all_reduce_of_one": harmless(
        "a sum of one device",
        collective("all_reduce", "replica_groups = dense<0> : tensor<1x1xi64>"),
    ),
    "collective_permute": Case(
        "data from a device that is not there",
        one(
            '"stablehlo.collective_permute"(%x) {source_target_pairs = dense<[[1, 0]]>'
            f" : tensor<1x2xi64>, {CHANNEL.format(1)}}} : ({VECTOR}) -> {VECTOR}"
        ),
        Stop.CHECK,
        "other devices than 0",
    ),
    "all_gather_of_two": Case(
        "data of two devices",
        main(
            '%r = "stablehlo.all_gather"(%x) {all_gather_dim = 0 : i64, replica_groups ='
            f" dense<[[0, 1]]> : tensor<1x2xi64>, {CHANNEL.format(1)}}}"
            f" : ({VECTOR}) -> tensor<8xf32>",
            gives="tensor<8xf32>",
        ),
        Stop.CHECK,
        "other devices than 0",
    ),
    "chain_20000": Case(
        "20,000 operations, each on the one before",
        chain,
        Stop.DEADLINE,
        "compiling took over",
        errno.ETIMEDOUT,
    ),
    "inputs_1000": harmless("1,000 inputs", many_inputs),
    "other_dialect": Case(
        "an operation of another dialect",
        main(
            "%r = arith.constant dense<1.0> : tensor<4xf32>",
        ),
        Stop.CHECK,
        "arith.constant is no StableHLO operation",
    ),
    "unregistered_dialect": Case(
        "an operation of a dialect nobody has",
        main(f'%r = "evil.run"(%x) : ({VECTOR}) -> {VECTOR}'),
        Stop.CHECK,
        "evil.run is no StableHLO operation",
    ),
    "versioned_dialect": Case(
        "StableHLO's inner dialect for files",
        main(f'%r = "vhlo.tanh_v1"(%x) : ({VECTOR}) -> {VECTOR}'),
        Stop.CHECK,
        "vhlo.tanh_v1 is no StableHLO operation",
    ),
}

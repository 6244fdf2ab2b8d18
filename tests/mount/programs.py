"""Programs that tests use."""

SPIN = """
func.func public @main(%n: tensor<i32>) -> (tensor<i32> {jax.result_info = "turns"}) {
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %one = stablehlo.constant dense<1> : tensor<i32>
  %i, %last = stablehlo.while(%a = %zero, %b = %n) : tensor<i32>, tensor<i32>
  cond {
    %c = stablehlo.compare LT, %a, %b : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %next = stablehlo.add %a, %one : tensor<i32>
    stablehlo.return %next, %b : tensor<i32>, tensor<i32>
  }
  return %i : tensor<i32>
}
"""
SECONDS = 20_000_000  # turns of SPIN that take about a second; only the order of magnitude counts
FOREVER = 2_147_483_647

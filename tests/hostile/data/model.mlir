func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x3xf32>, %p: tensor<i1>) -> (tensor<4x3xf32>, tensor<i32>) {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0] : (tensor<4x8xf32>, tensor<8x3xf32>) -> tensor<4x3xf32>
  %1 = call @act(%0) : (tensor<4x3xf32>) -> tensor<4x3xf32>
  %2 = "stablehlo.if"(%p) ({
    stablehlo.return %1 : tensor<4x3xf32>
  }, {
    %c = stablehlo.constant dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [0.5, 0.25, 0.125]]> : tensor<4x3xf32>
    stablehlo.return %c : tensor<4x3xf32>
  }) : (tensor<i1>) -> tensor<4x3xf32>
  %n = stablehlo.constant dense<0> : tensor<i32>
  %3 = stablehlo.while(%i = %n) : tensor<i32>
  cond {
    %k = stablehlo.constant dense<5> : tensor<i32>
    %m = stablehlo.compare LT, %i, %k : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %m : tensor<i1>
  } do {
    %o = stablehlo.constant dense<1> : tensor<i32>
    %j = stablehlo.add %i, %o : tensor<i32>
    stablehlo.return %j : tensor<i32>
  }
  return %2, %3 : tensor<4x3xf32>, tensor<i32>
}
func.func private @act(%x: tensor<4x3xf32>) -> tensor<4x3xf32> {
  %z = stablehlo.constant dense<0.0> : tensor<4x3xf32>
  %0 = stablehlo.maximum %x, %z : tensor<4x3xf32>
  return %0 : tensor<4x3xf32>
}

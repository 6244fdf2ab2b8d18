// The weights after one step of gradient descent.
func.func @main(%weights: tensor<64x10xf32>, %gradient: tensor<64x10xf32>) -> tensor<64x10xf32> {
  %rate = stablehlo.constant dense<0.5> : tensor<64x10xf32>
  %step = stablehlo.multiply %rate, %gradient : tensor<64x10xf32>
  %0 = stablehlo.subtract %weights, %step : tensor<64x10xf32>
  return %0 : tensor<64x10xf32>
}

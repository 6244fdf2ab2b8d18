// The images divided by DIM, which pipeline.mk replaces by a number.
func.func @main(%images: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %dim = stablehlo.constant dense<DIM> : tensor<64x64xf32>
  %dimmed = stablehlo.divide %images, %dim : tensor<64x64xf32>
  return %dimmed : tensor<64x64xf32>
}

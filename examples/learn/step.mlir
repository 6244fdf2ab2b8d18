module @jit_step attributes {mhlo.num_partitions = 1 : i32, mhlo.num_replicas = 1 : i32} {
  func.func public @main(%arg0: tensor<64xf32>, %arg1: tensor<10xf32>, %arg2: tensor<64x64xf32>, %arg3: tensor<64x10xf32>, %arg4: tensor<1437x64xui8>, %arg5: tensor<1437xui8>) -> (tensor<64xf32> {jax.result_info = "result[0]['b1']"}, tensor<10xf32> {jax.result_info = "result[0]['b2']"}, tensor<64x64xf32> {jax.result_info = "result[0]['w1']"}, tensor<64x10xf32> {jax.result_info = "result[0]['w2']"}, tensor<f32> {jax.result_info = "result[1]"}) {
    %0 = stablehlo.convert %arg4 : (tensor<1437x64xui8>) -> tensor<1437x64xf32>
    %cst = stablehlo.constant dense<1.600000e+01> : tensor<f32>
    %1 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<1437x64xf32>
    %2 = stablehlo.divide %0, %1 : tensor<1437x64xf32>
    %3 = stablehlo.dot_general %2, %arg2, contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<1437x64xf32>, tensor<64x64xf32>) -> tensor<1437x64xf32>
    %4 = stablehlo.broadcast_in_dim %arg0, dims = [1] : (tensor<64xf32>) -> tensor<1x64xf32>
    %5 = stablehlo.broadcast_in_dim %4, dims = [0, 1] : (tensor<1x64xf32>) -> tensor<1437x64xf32>
    %6 = stablehlo.add %3, %5 : tensor<1437x64xf32>
    %7 = stablehlo.tanh %6 : tensor<1437x64xf32>
    %cst_0 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %8 = stablehlo.broadcast_in_dim %cst_0, dims = [] : (tensor<f32>) -> tensor<1437x64xf32>
    %9 = stablehlo.subtract %8, %7 : tensor<1437x64xf32>
    %10 = stablehlo.dot_general %7, %arg3, contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<1437x64xf32>, tensor<64x10xf32>) -> tensor<1437x10xf32>
    %11 = stablehlo.broadcast_in_dim %arg1, dims = [1] : (tensor<10xf32>) -> tensor<1x10xf32>
    %12 = stablehlo.broadcast_in_dim %11, dims = [0, 1] : (tensor<1x10xf32>) -> tensor<1437x10xf32>
    %13 = stablehlo.add %10, %12 : tensor<1437x10xf32>
    %14:3 = call @log_softmax(%13) : (tensor<1437x10xf32>) -> (tensor<1437x10xf32>, tensor<1437x10xf32>, tensor<1437x1xf32>)
    %15 = stablehlo.broadcast_in_dim %arg5, dims = [0] : (tensor<1437xui8>) -> tensor<1437x1xui8>
    %16 = stablehlo.convert %15 : (tensor<1437x1xui8>) -> tensor<1437x1xi32>
    %17:2 = call @take_along_axis(%14#0, %16) : (tensor<1437x10xf32>, tensor<1437x1xi32>) -> (tensor<1437x1xf32>, tensor<1437x1x1xi32>)
    %cst_1 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %18 = stablehlo.reduce(%17#0 init: %cst_1) applies stablehlo.add across dimensions = [0, 1] : (tensor<1437x1xf32>, tensor<f32>) -> tensor<f32>
    %cst_2 = stablehlo.constant dense<1.437000e+03> : tensor<f32>
    %19 = stablehlo.divide %18, %cst_2 : tensor<f32>
    %20 = stablehlo.negate %19 : tensor<f32>
    %cst_3 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %21 = stablehlo.negate %cst_3 : tensor<f32>
    %cst_4 = stablehlo.constant dense<1.437000e+03> : tensor<f32>
    %22 = stablehlo.divide %21, %cst_4 : tensor<f32>
    %23 = stablehlo.broadcast_in_dim %22, dims = [] : (tensor<f32>) -> tensor<1437x1xf32>
    %24 = call @take_along_axis_0(%17#1, %23) : (tensor<1437x1x1xi32>, tensor<1437x1xf32>) -> tensor<1437x10xf32>
    %25 = call @log_softmax_1(%14#1, %14#2, %24) : (tensor<1437x10xf32>, tensor<1437x1xf32>, tensor<1437x10xf32>) -> tensor<1437x10xf32>
    %cst_5 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %26 = stablehlo.reduce(%25 init: %cst_5) applies stablehlo.add across dimensions = [0] : (tensor<1437x10xf32>, tensor<f32>) -> tensor<10xf32>
    %27 = stablehlo.reshape %26 : (tensor<10xf32>) -> tensor<1x10xf32>
    %cst_6 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %28 = stablehlo.reduce(%27 init: %cst_6) applies stablehlo.add across dimensions = [0] : (tensor<1x10xf32>, tensor<f32>) -> tensor<10xf32>
    %29 = stablehlo.dot_general %25, %7, contracting_dims = [0] x [0], precision = [DEFAULT, DEFAULT] : (tensor<1437x10xf32>, tensor<1437x64xf32>) -> tensor<10x64xf32>
    %30 = stablehlo.transpose %29, dims = [1, 0] : (tensor<10x64xf32>) -> tensor<64x10xf32>
    %31 = stablehlo.dot_general %25, %arg3, contracting_dims = [1] x [1], precision = [DEFAULT, DEFAULT] : (tensor<1437x10xf32>, tensor<64x10xf32>) -> tensor<1437x64xf32>
    %32 = stablehlo.multiply %31, %9 : tensor<1437x64xf32>
    %33 = stablehlo.multiply %32, %7 : tensor<1437x64xf32>
    %34 = stablehlo.add %32, %33 : tensor<1437x64xf32>
    %cst_7 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %35 = stablehlo.reduce(%34 init: %cst_7) applies stablehlo.add across dimensions = [0] : (tensor<1437x64xf32>, tensor<f32>) -> tensor<64xf32>
    %36 = stablehlo.reshape %35 : (tensor<64xf32>) -> tensor<1x64xf32>
    %cst_8 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %37 = stablehlo.reduce(%36 init: %cst_8) applies stablehlo.add across dimensions = [0] : (tensor<1x64xf32>, tensor<f32>) -> tensor<64xf32>
    %38 = stablehlo.dot_general %34, %2, contracting_dims = [0] x [0], precision = [DEFAULT, DEFAULT] : (tensor<1437x64xf32>, tensor<1437x64xf32>) -> tensor<64x64xf32>
    %39 = stablehlo.transpose %38, dims = [1, 0] : (tensor<64x64xf32>) -> tensor<64x64xf32>
    %cst_9 = stablehlo.constant dense<5.000000e-01> : tensor<f32>
    %40 = stablehlo.broadcast_in_dim %cst_9, dims = [] : (tensor<f32>) -> tensor<64xf32>
    %41 = stablehlo.multiply %40, %37 : tensor<64xf32>
    %42 = stablehlo.subtract %arg0, %41 : tensor<64xf32>
    %cst_10 = stablehlo.constant dense<5.000000e-01> : tensor<f32>
    %43 = stablehlo.broadcast_in_dim %cst_10, dims = [] : (tensor<f32>) -> tensor<10xf32>
    %44 = stablehlo.multiply %43, %28 : tensor<10xf32>
    %45 = stablehlo.subtract %arg1, %44 : tensor<10xf32>
    %cst_11 = stablehlo.constant dense<5.000000e-01> : tensor<f32>
    %46 = stablehlo.broadcast_in_dim %cst_11, dims = [] : (tensor<f32>) -> tensor<64x64xf32>
    %47 = stablehlo.multiply %46, %39 : tensor<64x64xf32>
    %48 = stablehlo.subtract %arg2, %47 : tensor<64x64xf32>
    %cst_12 = stablehlo.constant dense<5.000000e-01> : tensor<f32>
    %49 = stablehlo.broadcast_in_dim %cst_12, dims = [] : (tensor<f32>) -> tensor<64x10xf32>
    %50 = stablehlo.multiply %49, %30 : tensor<64x10xf32>
    %51 = stablehlo.subtract %arg3, %50 : tensor<64x10xf32>
    return %42, %45, %48, %51, %20 : tensor<64xf32>, tensor<10xf32>, tensor<64x64xf32>, tensor<64x10xf32>, tensor<f32>
  }
  func.func private @log_softmax(%arg0: tensor<1437x10xf32>) -> (tensor<1437x10xf32>, tensor<1437x10xf32>, tensor<1437x1xf32>) {
    %cst = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %0 = stablehlo.reduce(%arg0 init: %cst) applies stablehlo.maximum across dimensions = [1] : (tensor<1437x10xf32>, tensor<f32>) -> tensor<1437xf32>
    %cst_0 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %1 = stablehlo.broadcast_in_dim %cst_0, dims = [] : (tensor<f32>) -> tensor<1437xf32>
    %2 = stablehlo.maximum %1, %0 : tensor<1437xf32>
    %3 = stablehlo.broadcast_in_dim %2, dims = [0] : (tensor<1437xf32>) -> tensor<1437x1xf32>
    %4 = stablehlo.broadcast_in_dim %3, dims = [0, 1] : (tensor<1437x1xf32>) -> tensor<1437x10xf32>
    %5 = stablehlo.subtract %arg0, %4 : tensor<1437x10xf32>
    %6 = stablehlo.exponential %5 : tensor<1437x10xf32>
    %cst_1 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %7 = stablehlo.reduce(%6 init: %cst_1) applies stablehlo.add across dimensions = [1] : (tensor<1437x10xf32>, tensor<f32>) -> tensor<1437xf32>
    %8 = stablehlo.broadcast_in_dim %7, dims = [0] : (tensor<1437xf32>) -> tensor<1437x1xf32>
    %9 = stablehlo.log %8 : tensor<1437x1xf32>
    %10 = stablehlo.broadcast_in_dim %9, dims = [0, 1] : (tensor<1437x1xf32>) -> tensor<1437x10xf32>
    %11 = stablehlo.subtract %5, %10 : tensor<1437x10xf32>
    return %11, %6, %8 : tensor<1437x10xf32>, tensor<1437x10xf32>, tensor<1437x1xf32>
  }
  func.func private @take_along_axis(%arg0: tensor<1437x10xf32>, %arg1: tensor<1437x1xi32>) -> (tensor<1437x1xf32>, tensor<1437x1x1xi32>) {
    %c = stablehlo.constant dense<0> : tensor<i32>
    %0 = stablehlo.broadcast_in_dim %c, dims = [] : (tensor<i32>) -> tensor<1437x1xi32>
    %1 = stablehlo.compare LT, %arg1, %0, SIGNED : (tensor<1437x1xi32>, tensor<1437x1xi32>) -> tensor<1437x1xi1>
    %c_0 = stablehlo.constant dense<10> : tensor<i32>
    %2 = stablehlo.broadcast_in_dim %c_0, dims = [] : (tensor<i32>) -> tensor<1437x1xi32>
    %3 = stablehlo.add %arg1, %2 : tensor<1437x1xi32>
    %4 = stablehlo.select %1, %3, %arg1 : tensor<1437x1xi1>, tensor<1437x1xi32>
    %5 = stablehlo.reshape %4 : (tensor<1437x1xi32>) -> tensor<1437x1x1xi32>
    %c_1 = stablehlo.constant dense<9> : tensor<1xi32>
    %c_2 = stablehlo.constant dense<0> : tensor<i32>
    %6 = stablehlo.broadcast_in_dim %c_2, dims = [] : (tensor<i32>) -> tensor<1437x1x1xi32>
    %7 = stablehlo.compare GE, %5, %6, SIGNED : (tensor<1437x1x1xi32>, tensor<1437x1x1xi32>) -> tensor<1437x1x1xi1>
    %8 = stablehlo.broadcast_in_dim %c_1, dims = [2] : (tensor<1xi32>) -> tensor<1x1x1xi32>
    %9 = stablehlo.broadcast_in_dim %8, dims = [0, 1, 2] : (tensor<1x1x1xi32>) -> tensor<1437x1x1xi32>
    %10 = stablehlo.compare LE, %5, %9, SIGNED : (tensor<1437x1x1xi32>, tensor<1437x1x1xi32>) -> tensor<1437x1x1xi1>
    %11 = stablehlo.and %7, %10 : tensor<1437x1x1xi1>
    %c_3 = stablehlo.constant dense<true> : tensor<i1>
    %12 = stablehlo.reduce(%11 init: %c_3) applies stablehlo.and across dimensions = [2] : (tensor<1437x1x1xi1>, tensor<i1>) -> tensor<1437x1xi1>
    %13 = "stablehlo.gather"(%arg0, %5) <{dimension_numbers = #stablehlo.gather<collapsed_slice_dims = [1], operand_batching_dims = [0], start_indices_batching_dims = [0], start_index_map = [1], index_vector_dim = 2>, indices_are_sorted = false, slice_sizes = array<i64: 1, 1>}> : (tensor<1437x10xf32>, tensor<1437x1x1xi32>) -> tensor<1437x1xf32>
    %cst = stablehlo.constant dense<0x7FC00000> : tensor<f32>
    %14 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<1437x1xf32>
    %15 = stablehlo.select %12, %13, %14 : tensor<1437x1xi1>, tensor<1437x1xf32>
    return %15, %5 : tensor<1437x1xf32>, tensor<1437x1x1xi32>
  }
  func.func private @take_along_axis_0(%arg0: tensor<1437x1x1xi32>, %arg1: tensor<1437x1xf32>) -> tensor<1437x10xf32> {
    %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %0 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<1437x10xf32>
    %1 = "stablehlo.scatter"(%0, %arg0, %arg1) <{indices_are_sorted = false, scatter_dimension_numbers = #stablehlo.scatter<inserted_window_dims = [1], input_batching_dims = [0], scatter_indices_batching_dims = [0], scatter_dims_to_operand_dims = [1], index_vector_dim = 2>, unique_indices = false}> ({
    ^bb0(%arg2: tensor<f32>, %arg3: tensor<f32>):
      %2 = stablehlo.add %arg2, %arg3 : tensor<f32>
      stablehlo.return %2 : tensor<f32>
    }) : (tensor<1437x10xf32>, tensor<1437x1x1xi32>, tensor<1437x1xf32>) -> tensor<1437x10xf32>
    return %1 : tensor<1437x10xf32>
  }
  func.func private @log_softmax_1(%arg0: tensor<1437x10xf32>, %arg1: tensor<1437x1xf32>, %arg2: tensor<1437x10xf32>) -> tensor<1437x10xf32> {
    %0 = stablehlo.negate %arg2 : tensor<1437x10xf32>
    %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %1 = stablehlo.reduce(%0 init: %cst) applies stablehlo.add across dimensions = [1] : (tensor<1437x10xf32>, tensor<f32>) -> tensor<1437xf32>
    %2 = stablehlo.reshape %1 : (tensor<1437xf32>) -> tensor<1437x1xf32>
    %3 = stablehlo.divide %2, %arg1 : tensor<1437x1xf32>
    %cst_0 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %4 = stablehlo.reduce(%3 init: %cst_0) applies stablehlo.add across dimensions = [1] : (tensor<1437x1xf32>, tensor<f32>) -> tensor<1437xf32>
    %5 = stablehlo.broadcast_in_dim %4, dims = [0] : (tensor<1437xf32>) -> tensor<1437x10xf32>
    %6 = stablehlo.multiply %5, %arg0 : tensor<1437x10xf32>
    %7 = stablehlo.add %arg2, %6 : tensor<1437x10xf32>
    return %7 : tensor<1437x10xf32>
  }
}

# Rscript saxpy.R /jax: a conversation from R, whose connections know files and little-endian floats.
call <- file(file.path(commandArgs(TRUE)[1], "programs/saxpy/call.raw"), "r+b", raw = TRUE)
writeBin(c(1, 2, 3, 4, 10, 20, 30, 40), call, size = 4, endian = "little")
z <- readBin(call, "numeric", 4, size = 4, endian = "little")
writeLines(paste(sprintf("%.1f", z), collapse = " "))

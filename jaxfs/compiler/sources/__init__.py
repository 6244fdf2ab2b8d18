"""What users write, as something JAX can trace or compile: one module per source format."""

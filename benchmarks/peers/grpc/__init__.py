"""A gRPC server of grpcio."""

"""PyTorch tensors: autograd, registered operations, and the composition of PyTorch operations."""

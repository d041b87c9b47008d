"""What turns gradients into weights: optimizer, learning rate, averages."""

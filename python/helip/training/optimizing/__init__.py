"""What turns gradients into weights: optimizer, learning rate, decay by layer, averages."""

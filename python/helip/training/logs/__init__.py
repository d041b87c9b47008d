"""What a run writes down: numbers read late, metrics, curves, TensorBoard and wandb."""

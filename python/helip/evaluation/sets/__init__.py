"""What a model is measured on, one format a file."""

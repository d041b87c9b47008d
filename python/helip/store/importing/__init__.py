"""Embeddings that other tools computed, read in blocks for a store."""

from .embedding_store import EmbeddingStore, StoreKeys, StoreWriter

__all__ = [
    "EmbeddingStore",
    "StoreKeys",
    "StoreWriter",
]

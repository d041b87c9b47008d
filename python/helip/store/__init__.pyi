from .embedding_store import EmbeddingStore, StoreKeys, StoreWriter
from .mapped_files import guard_mapped_files

__all__ = [
    "EmbeddingStore",
    "StoreKeys",
    "StoreWriter",
    "guard_mapped_files",
]

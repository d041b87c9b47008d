from .blocks import StoreBlock
from .embedding_store import EmbeddingStore, StoreKeys, StoreWriter
from .mapped_files import guard_mapped_files
from .options import ImportOptions

__all__ = [
    "EmbeddingStore",
    "ImportOptions",
    "StoreBlock",
    "StoreKeys",
    "StoreWriter",
    "guard_mapped_files",
]

from .blocks import StoreBlock
from .data_identity import difference_words, fingerprint_differences
from .embedding_store import EmbeddingStore, StoreKeys
from .keys import KeyIndex
from .mapped_files import guard_mapped_files
from .options import ImportOptions
from .pair_cosines import PairCosines
from .store_writer import StoreWriter

__all__ = [
    "EmbeddingStore",
    "ImportOptions",
    "KeyIndex",
    "PairCosines",
    "StoreBlock",
    "StoreKeys",
    "StoreWriter",
    "difference_words",
    "fingerprint_differences",
    "guard_mapped_files",
]

from .bundle import ModelBundle, create_model
from .interpolation import interpolate
from .locking import lock_towers
from .lora import add_lora, merge_lora
from .options import LockOptions, Lora, ModelCardOptions, ModelOptions
from .pretrained import PublishOptions
from .saving import export, save_model
from .slip import add_ssl_head, has_ssl_head

__all__ = [
    "LockOptions",
    "Lora",
    "ModelBundle",
    "ModelCardOptions",
    "ModelOptions",
    "PublishOptions",
    "add_lora",
    "add_ssl_head",
    "create_model",
    "export",
    "has_ssl_head",
    "interpolate",
    "lock_towers",
    "merge_lora",
    "save_model",
]

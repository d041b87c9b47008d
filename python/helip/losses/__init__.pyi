from .helip_loss import HelipLoss, clip_loss, hard_negative_margin_loss
from .siglip import HelipSigmoidLoss
from .ssl import SslLoss, nt_xent

__all__ = [
    "HelipLoss",
    "HelipSigmoidLoss",
    "SslLoss",
    "clip_loss",
    "hard_negative_margin_loss",
    "nt_xent",
]

from .distillation import DistillationLoss
from .helip_loss import HelipLoss, clip_loss, hard_negative_margin_loss
from .loss import Loss
from .options import DistillOptions, LossOptions, MarginOptions, SslOptions
from .siglip import HelipSigmoidLoss
from .ssl import SslLoss

__all__ = [
    "DistillOptions",
    "DistillationLoss",
    "HelipLoss",
    "HelipSigmoidLoss",
    "Loss",
    "LossOptions",
    "MarginOptions",
    "SslLoss",
    "SslOptions",
    "clip_loss",
    "hard_negative_margin_loss",
]

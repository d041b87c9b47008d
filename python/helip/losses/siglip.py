"""SigLIP's pairwise sigmoid loss (arXiv 2303.15343) with the margin loss of HELIP.

    sigmoid = -1/b sum over i, j of log sigmoid(z_ij (scale sim(I_i, T_j) + bias))

for images i and captions j, with z_ij = 1 for i = j and -1 otherwise. It stands where the CLIP loss
stands in `HelipLoss`; the margin loss is the same. Between equal rows (`helip.losses.equal`) z_ij
is 1, or there is no term. Soft labels w_ij in 0 .. 1 make a term of both:
w_ij log sigmoid(z) + (1 - w_ij) log sigmoid(-z), of z = scale sim(I_i, T_j) + bias.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from helip.common.collectives import Everyone
from helip.losses.equal import itself
from helip.losses.features import one_number
from helip.losses.helip_loss import HelipLoss
from helip.losses.margin import Similarities


class HelipSigmoidLoss(HelipLoss):
    """Sigmoid loss + gamma x HNML, for models with a learned bias.

    Options and call are those of HelipLoss; ``clip`` of what it returns is the sigmoid loss.
    """

    def contrast(
        self,
        seen: Similarities,
        everyone: Everyone,
        logit_scale: Tensor | float,
        logit_bias: Tensor | float | None,
        masked: Tensor | None,
        weights: Tensor | None,
    ) -> Tensor:
        similarity = seen.from_image
        dtype, device = similarity.dtype, similarity.device
        scale = one_number(logit_scale, "logit_scale", "model.logit_scale.exp()", dtype)
        bias = 0.0 if logit_bias is None else logit_bias
        bias = one_number(bias, "logit_bias", "model.logit_bias", dtype)
        with torch.autocast(device_type=device.type, enabled=False):
            logits = similarity * scale + bias
            if weights is None:
                weights = itself(similarity, everyone)
            if weights.dtype == torch.bool:
                terms = F.logsigmoid(torch.where(weights, logits, -logits))
            else:
                terms = torch.lerp(F.logsigmoid(-logits), F.logsigmoid(logits), weights)
            if masked is not None:
                terms = terms.masked_fill(masked, 0.0)
            # Of all images, those of this process; the mean over processes makes the sum.
            return -terms.sum() * (everyone.processes / everyone.total)

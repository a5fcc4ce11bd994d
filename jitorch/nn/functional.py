"""`torch.nn.functional`: the operations of neural networks as functions.

Each is defined in `jitorch/ops`; this is where users find them.
"""
# ruff: noqa: F401
from __future__ import annotations

from ..ops.activations import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    one_hot,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
    threshold_,
)
from ..ops.attention import scaled_dot_product_attention
from ..ops.contraction import bilinear, linear
from ..ops.convolution import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from ..ops.cross_entropy import (
    cross_entropy,
    linear_cross_entropy,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
)
from ..ops.ctc import ctc_loss
from ..ops.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from ..ops.embedding import embedding, embedding_bag
from ..ops.families import PUBLIC
from ..ops.interpolation import affine_grid, grid_sample, interpolate, upsample, upsample_bilinear, upsample_nearest
from ..ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ..ops.movement import channel_shuffle, fold, pad, pixel_shuffle, pixel_unshuffle
from ..ops.movement import unfold_blocks as unfold
from ..ops.normalization import (
    batch_norm,
    cosine_similarity,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    normalize,
    pairwise_distance,
    rms_norm,
)
from ..ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from ..ops.segments import fractional_max_pool2d, fractional_max_pool3d, pdist

sigmoid, tanh = PUBLIC["sigmoid"], PUBLIC["tanh"]


def with_indices(function):
    """`<pooling>_with_indices`: (values, indices)."""
    return lambda *args, **kwargs: function(*args, **(kwargs | {"return_indices": True}))


for _f in (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d, fractional_max_pool2d, fractional_max_pool3d, max_pool1d, max_pool2d, max_pool3d):
    globals()[_f.__name__ + "_with_indices"] = with_indices(_f)


def multi_head_attention_forward(*args, **kwargs):
    """What `MultiheadAttention` computes, with all of its parameters as arguments: (output, weights)."""
    from .modules.activation import attention_of_parameters

    return attention_of_parameters(*args, **kwargs)

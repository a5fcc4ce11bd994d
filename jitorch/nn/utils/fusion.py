"""Batch normalisation folded into the layer in front of it, for inference."""

from __future__ import annotations

from copy import deepcopy

import jitorch

from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def folded(weight, bias, mean, var, eps, scale, shift, shape):
    """(weight, bias) of the layer that does both."""
    bias = jitorch.zeros_like(mean) if bias is None else bias
    scale = jitorch.ones_like(mean) if scale is None else scale
    shift = jitorch.zeros_like(mean) if shift is None else shift
    factor = scale * (var + eps).rsqrt()
    return (weight * factor.reshape(shape)).to(weight.dtype), ((bias - mean) * factor + shift).to(bias.dtype)


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose: bool = False):
    """The weight and bias, as parameters, of a convolution followed by a batch normalisation."""
    shape = [1, -1] if transpose else [-1, 1]
    pair = folded(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape + [1] * (conv_w.ndim - 2))
    return Parameter(pair[0].detach(), conv_w.requires_grad), Parameter(pair[1].detach(), True if conv_b is None else conv_b.requires_grad)


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """The weight and bias, as parameters, of a linear layer followed by a batch normalisation."""
    pair = folded(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, [-1, 1])
    return Parameter(pair[0].detach(), linear_w.requires_grad), Parameter(pair[1].detach(), True if linear_b is None else linear_b.requires_grad)


def fuse(layer, bn, weights, *more):
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    made = deepcopy(layer)
    made.weight, made.bias = weights(made.weight, made.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, *more)
    return made


def fuse_conv_bn_eval(conv, bn, transpose: bool = False):
    """A copy of a convolution that does the work of the batch normalisation behind it too. AssertionError in training mode."""
    return fuse(conv, bn, fuse_conv_bn_weights, transpose)


def fuse_linear_bn_eval(linear, bn):
    """A copy of a linear layer that does the work of the batch normalisation behind it too. AssertionError in training mode."""
    return fuse(linear, bn, fuse_linear_bn_weights)

"""Layers that keep weights in one type and compute in their input's, as host applications do."""

import torch.nn.functional as F
from torch import nn


def cast(weight, x):
    return None if weight is None else weight.to(x)


class Linear(nn.Linear):
    def forward(self, x):
        return F.linear(x, cast(self.weight, x), cast(self.bias, x))


class Conv1d(nn.Conv1d):
    def forward(self, x):
        weight, bias = cast(self.weight, x), cast(self.bias, x)
        return F.conv1d(x, weight, bias, self.stride, self.padding)


class Conv3d(nn.Conv3d):
    def forward(self, x):
        return F.conv3d(x, cast(self.weight, x), cast(self.bias, x), self.stride)


class LayerNorm(nn.LayerNorm):
    def forward(self, x):
        weight, bias = cast(self.weight, x), cast(self.bias, x)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class RMSNorm(nn.RMSNorm):
    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, cast(self.weight, x), self.eps)


class Casting:
    """A namespace of operations."""

    Linear, Conv1d, Conv3d = Linear, Conv1d, Conv3d
    LayerNorm, RMSNorm = LayerNorm, RMSNorm

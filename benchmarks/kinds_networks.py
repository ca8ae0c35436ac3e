"""Architectures unlike the corpus's: 0.01 to 0.5 million parameters, most without BatchNorm."""

import itertools
from collections.abc import Callable

import torch
from torch import nn


class Residual(nn.Module):
    """Adds what a branch makes of its input to the input, or to a projection of it."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.branch(x)


class Transposed(nn.Module):
    """Applies a module along tokens instead of features."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of several heads (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, tokens, width))


class Patches(nn.Module):
    """Cuts an image into squares, embeds each, and may add a place of its own to each."""

    def __init__(self, channels: int, side: int, size: int, width: int, places: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, size, stride=size)
        self.places = nn.Parameter(0.02 * torch.randn((side // size) ** 2, width)) if places else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        return tokens if self.places is None else tokens + self.places


class Turned(nn.Module):
    """Makes tokens of places: (n, width, places) to (n, places, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class MeanToken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


class Excite(nn.Module):
    """Squeeze and excitation (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // 4, 1),
            nn.SiLU(),
            nn.Conv2d(width // 4, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


class Joined(nn.Module):
    """Joins what several branches make of the same input, or the input and its branch, by channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Summed(nn.Module):
    """Adds what several branches make of the same input."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class Shuffle(nn.Module):
    """Deals the channels of each group out to all groups (Zhang et al. 2018)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class Maxout(nn.Module):
    """Keeps the larger of every two channels (Goodfellow et al. 2013)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (-1, 2)).amax(2)


class Highway(nn.Module):
    """Mixes its input with a convolution of it by a learnt gate (Srivastava et al. 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change, self.gate = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = self.gate(x).sigmoid()
        return share * self.change(x).relu() + (1 - share) * x


class ClassToken(nn.Module):
    """Puts a token of its own before the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.token.expand(len(x), 1, -1), x], 1)


class FirstToken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0]


class WindowAttention(nn.Module):
    """Self-attention within windows that are moved by `shift` (Liu et al. 2021); the tokens fill a square."""

    def __init__(self, width: int, heads: int, tokens: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.side, self.window, self.shift = heads, tokens, window, shift
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()])
        apart = places[:, :, None] - places[:, None, :] + window - 1
        self.register_buffer("apart", apart[0] * (2 * window - 1) + apart[1], persistent=False)
        # tokens that the move brings from the other edge are no neighbours
        zone = (torch.arange(tokens) >= tokens - shift).long()
        zones = self._windows((2 * zone[:, None] + zone)[None, ..., None].float()).squeeze(-1)
        strange = zones[:, :, None] != zones[:, None, :]
        self.register_buffer("mask", -100.0 * strange.float(), persistent=False)

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        n, side, _, width = x.shape
        count = side // self.window
        x = x.reshape(n, count, self.window, count, self.window, width).transpose(2, 3)
        return x.reshape(n * count**2, self.window**2, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, tokens, width = x.shape
        count, area = self.side // self.window, self.window**2
        x = x.reshape(n, self.side, self.side, width).roll((-self.shift, -self.shift), (1, 2))
        qkv = self.qkv(self._windows(x)).reshape(n, count**2, area, 3, self.heads, -1)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        weights = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.bias[self.apart].permute(2, 0, 1)
        x = (weights + self.mask[:, None]).softmax(-1) @ v
        x = x.transpose(2, 3).reshape(n, count, count, self.window, self.window, width).transpose(2, 3)
        x = x.reshape(n, self.side, self.side, width).roll((self.shift, self.shift), (1, 2))
        return self.out(x.reshape(n, tokens, width))


class Merge(nn.Module):
    """Makes one token of each four that form a square (Liu et al. 2021)."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.side, self.norm = tokens // 2, nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, width = x.shape
        x = x.reshape(n, self.side, 2, self.side, 2, width).transpose(2, 3)
        return self.reduce(self.norm(x.reshape(n, self.side**2, 4 * width)))


class ChannelNorm(nn.GroupNorm):
    """LayerNorm over channels and places."""

    def __init__(self, width: int) -> None:
        super().__init__(1, width)


def _pooled(width: int, classes: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)


def _conv(a: int, b: int, size: int = 3, stride: int = 1, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(a, b, size, stride=stride, padding=size // 2, groups=groups, bias=bias)


def vgg(channels: int, side: int, classes: int) -> nn.Sequential:
    """Five 3 x 3 convolutions, no normalisation, dropout before the head."""
    return nn.Sequential(
        _conv(channels, 16),
        nn.ReLU(),
        _conv(16, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        _conv(16, 32),
        nn.ReLU(),
        _conv(32, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        _conv(32, 64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (side // 8) ** 2, 128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, classes),
    )


def group_norm_resnet(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three residual blocks with GroupNorm."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        branch = nn.Sequential(
            _conv(a, b, stride=stride), nn.GroupNorm(4, b), nn.ReLU(), _conv(b, b), nn.GroupNorm(4, b)
        )
        return nn.Sequential(Residual(branch, _conv(a, b, 1, stride) if a != b else None), nn.ReLU())

    return nn.Sequential(
        _conv(channels, 24),
        nn.GroupNorm(4, 24),
        nn.ReLU(),
        block(24, 24, 1),
        block(24, 48, 2),
        block(48, 64, 2),
        *_pooled(64, classes),
    )


def mobile(channels: int, side: int, classes: int) -> nn.Sequential:
    """Depthwise and pointwise convolutions with BatchNorm (after MobileNet)."""

    def block(a: int, b: int, stride: int) -> tuple[nn.Module, ...]:
        return (
            _conv(a, a, 3, stride, groups=a, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU(),
            _conv(a, b, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        )

    return nn.Sequential(
        _conv(channels, 24, 3, 2, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        *block(24, 48, 1),
        *block(48, 64, 2),
        *block(64, 96, 1),
        *block(96, 128, 2),
        *_pooled(128, classes),
    )


def vit(channels: int, side: int, classes: int) -> nn.Sequential:
    """A vision transformer of width 64 and depth 3 on squares of 4 pixels."""
    layers: list[nn.Module] = [Patches(channels, side, 4, 64, places=True)]
    for _ in range(3):
        layers += [
            Residual(nn.Sequential(nn.LayerNorm(64), Attention(64, 4))),
            Residual(nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(64), MeanToken(), nn.Linear(64, classes))


def mixer(channels: int, side: int, classes: int) -> nn.Sequential:
    """An MLP-Mixer of width 64 and depth 3."""
    tokens, layers = (side // 4) ** 2, [Patches(channels, side, 4, 64, places=False)]
    for _ in range(3):
        along = nn.Sequential(nn.Linear(tokens, 64), nn.GELU(), nn.Linear(64, tokens))
        across = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))
        layers += [
            Residual(nn.Sequential(nn.LayerNorm(64), Transposed(along))),
            Residual(nn.Sequential(nn.LayerNorm(64), across)),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(64), MeanToken(), nn.Linear(64, classes))


def wide(channels: int, side: int, classes: int) -> nn.Sequential:
    """One convolution of 192 kernels of 6 x 6, pooled to 3 x 3 places, and the head."""
    return nn.Sequential(
        nn.Conv2d(channels, 192, 6, stride=2),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(3),
        nn.Flatten(),
        nn.Linear(192 * 9, classes),
    )


def resnet20(channels: int, side: int, classes: int) -> nn.Sequential:
    """Nineteen convolutions with BatchNorm, half as wide as He et al.'s for CIFAR-10."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        branch = nn.Sequential(
            _conv(a, b, 3, stride, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            _conv(b, b, bias=False),
            nn.BatchNorm2d(b),
        )
        return nn.Sequential(Residual(branch, _conv(a, b, 1, stride) if a != b else None), nn.ReLU())

    widths = [8, 8, 8, 8, 16, 16, 16, 32, 32, 32]
    steps = itertools.pairwise(widths)
    return nn.Sequential(
        _conv(channels, 8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        *(block(a, b, 1 if a == b else 2) for a, b in steps),
        *_pooled(32, classes),
    )


def lenet(channels: int, side: int, classes: int) -> nn.Sequential:
    """LeNet-5: tanh and mean pooling."""
    places = ((side - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 12, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(12, 32, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * places**2, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


def mlp(channels: int, side: int, classes: int) -> nn.Sequential:
    """Two hidden layers of 256 and 128."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * side**2, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def tiny(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four strided convolutions of 8 to 32 channels, pooled: 0.01 M parameters."""
    return nn.Sequential(
        _conv(channels, 8, 5, 2),
        nn.ReLU(),
        _conv(8, 16, 3, 2),
        nn.ReLU(),
        _conv(16, 32, 3, 2),
        nn.ReLU(),
        _conv(32, 32),
        nn.ReLU(),
        *_pooled(32, classes),
    )


def leaky(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three 4 x 4 convolutions of stride 2 with InstanceNorm and leaky ReLU."""

    def block(a: int, b: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(a, b, 4, stride=2, padding=1), nn.InstanceNorm2d(b, affine=True), nn.LeakyReLU(0.2)

    return nn.Sequential(
        *block(channels, 32),
        *block(32, 64),
        *block(64, 64),
        nn.Flatten(),
        nn.Linear(64 * (side // 8) ** 2, classes),
    )


def convnext(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three ConvNeXt blocks of width 48 on squares of 4 pixels."""

    def block(width: int) -> nn.Module:
        return Residual(
            nn.Sequential(
                _conv(width, width, 7, groups=width),
                ChannelNorm(width),
                _conv(width, 3 * width, 1),
                nn.GELU(),
                _conv(3 * width, width, 1),
            )
        )

    return nn.Sequential(
        nn.Conv2d(channels, 48, 4, stride=4),
        ChannelNorm(48),
        block(48),
        block(48),
        block(48),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(48),
        nn.Linear(48, classes),
    )


def fire(channels: int, side: int, classes: int) -> nn.Sequential:
    """SqueezeNet's fire modules, with a convolution as head."""

    def module(a: int, squeezed: int, b: int) -> tuple[nn.Module, ...]:
        wide_branch = nn.Sequential(_conv(squeezed, b), nn.ReLU())
        return (
            nn.Sequential(_conv(a, squeezed, 1), nn.ReLU()),
            Joined(nn.Sequential(_conv(squeezed, b, 1), nn.ReLU()), wide_branch),
        )

    return nn.Sequential(
        _conv(channels, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *module(32, 12, 24),
        *module(48, 12, 32),
        nn.MaxPool2d(2),
        *module(64, 16, 48),
        nn.Conv2d(96, classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def excited(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four inverted bottlenecks with SiLU and squeeze-and-excitation (after EfficientNet): a deep network."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        inner = nn.Sequential(
            _conv(a, 3 * a, 1, bias=False),
            nn.BatchNorm2d(3 * a),
            nn.SiLU(),
            _conv(3 * a, 3 * a, 3, stride, groups=3 * a, bias=False),
            nn.BatchNorm2d(3 * a),
            nn.SiLU(),
            Excite(3 * a),
            _conv(3 * a, b, 1, bias=False),
            nn.BatchNorm2d(b),
        )
        return Residual(inner) if a == b else inner

    return nn.Sequential(
        _conv(channels, 16, 3, 2, bias=False),
        nn.BatchNorm2d(16),
        nn.SiLU(),
        block(16, 16, 1),
        block(16, 32, 2),
        block(32, 32, 1),
        block(32, 48, 1),
        _conv(48, 96, 1, bias=False),
        nn.BatchNorm2d(96),
        nn.SiLU(),
        *_pooled(96, classes),
    )


def pooling(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three 3 x 3 convolutions with max pooling and two linear layers: a newcomer's network of 0.1 M."""
    return nn.Sequential(
        _conv(channels, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        _conv(16, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        _conv(32, 64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (side // 8) ** 2, 80),
        nn.ReLU(),
        nn.Linear(80, classes),
    )


def conv_mixer(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four ConvMixer layers of width 48 on squares of 4 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 48, 4, stride=4), nn.GELU(), nn.BatchNorm2d(48)]
    for _ in range(4):
        layers += [
            Residual(nn.Sequential(_conv(48, 48, 5, groups=48), nn.GELU(), nn.BatchNorm2d(48))),
            _conv(48, 48, 1),
            nn.GELU(),
            nn.BatchNorm2d(48),
        ]
    return nn.Sequential(*layers, *_pooled(48, classes))


def dense(channels: int, side: int, classes: int) -> nn.Sequential:
    """Two dense blocks of three layers each, growth 16 (after DenseNet)."""

    def layer(a: int) -> nn.Module:
        return Joined(nn.Identity(), nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(), _conv(a, 16, bias=False)))

    return nn.Sequential(
        _conv(channels, 24, 3, 2),
        layer(24),
        layer(40),
        layer(56),
        _conv(72, 36, 1),
        nn.AvgPool2d(2),
        layer(36),
        layer(52),
        layer(68),
        nn.BatchNorm2d(84),
        nn.ReLU(),
        *_pooled(84, classes),
    )


def norm_mlp(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three hidden layers with BatchNorm."""
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in ((channels * side**2, 384), (384, 192), (192, 96)):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, classes))


def grouped(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three bottlenecks with grouped convolutions and LayerNorm (after ResNeXt)."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        branch = nn.Sequential(
            _conv(a, b // 2, 1),
            ChannelNorm(b // 2),
            nn.ELU(),
            _conv(b // 2, b // 2, 3, stride, groups=4),
            ChannelNorm(b // 2),
            nn.ELU(),
            _conv(b // 2, b, 1),
        )
        return nn.Sequential(Residual(branch, _conv(a, b, 1, stride)), nn.ELU())

    return nn.Sequential(
        _conv(channels, 32, 3, 2),
        nn.ELU(),
        block(32, 64, 1),
        block(64, 96, 2),
        block(96, 128, 2),
        *_pooled(128, classes),
    )


def strided_gelu(channels: int, side: int, classes: int) -> nn.Sequential:
    """A 7 x 7 and two 3 x 3 convolutions of stride 2 with GELU, mean and largest value pooled together."""
    return nn.Sequential(
        _conv(channels, 32, 7, 2),
        nn.GELU(),
        _conv(32, 64, 3, 2),
        nn.GELU(),
        _conv(64, 96, 3, 2),
        nn.GELU(),
        Joined(nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)),
        nn.Flatten(),
        nn.Linear(192, classes),
    )


def inception(channels: int, side: int, classes: int) -> nn.Sequential:
    """Two modules of 1 x 1, 3 x 3 and 5 x 5 convolutions side by side, with BatchNorm (after Inception)."""

    def module(a: int) -> tuple[nn.Module, ...]:
        branches = (_conv(a, 16, 1, bias=False), _conv(a, 24, 3, bias=False), _conv(a, 16, 5, bias=False))
        return Joined(*branches), nn.BatchNorm2d(56), nn.ReLU()

    stem = _conv(channels, 24, 3, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()
    return nn.Sequential(*stem, *module(24), nn.MaxPool2d(2), *module(56), *_pooled(56, classes))


def preact(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three residual blocks with BatchNorm before the activations (He et al. 2016)."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        branch = nn.Sequential(
            nn.BatchNorm2d(a), nn.ReLU(), _conv(a, b, 3, stride), nn.BatchNorm2d(b), nn.ReLU(), _conv(b, b)
        )
        return Residual(branch, _conv(a, b, 1, stride))

    blocks = block(16, 24, 2), block(24, 32, 1), block(32, 64, 2)
    return nn.Sequential(_conv(channels, 16), *blocks, nn.BatchNorm2d(64), nn.ReLU(), *_pooled(64, classes))


def dilated(channels: int, side: int, classes: int) -> nn.Sequential:
    """Dilated convolutions without normalisation, and the largest value over all places."""
    layers: list[nn.Module] = [_conv(channels, 24, 3, 2), nn.ReLU()]
    for a, b, step in ((24, 32, 2), (32, 48, 4), (48, 64, 1)):
        layers += [nn.Conv2d(a, b, 3, padding=step, dilation=step), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def hybrid(channels: int, side: int, classes: int) -> nn.Sequential:
    """Two strided convolutions with BatchNorm, then two layers of attention over their places."""
    layers: list[nn.Module] = [_conv(channels, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU()]
    layers += [_conv(32, 48, 3, 2), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten(2), Turned()]
    for _ in range(2):
        layers.append(Residual(nn.Sequential(nn.LayerNorm(48), Attention(48, 3))))
        inner = nn.Linear(48, 96), nn.SiLU(), nn.Linear(96, 48)
        layers.append(Residual(nn.Sequential(nn.LayerNorm(48), *inner)))
    return nn.Sequential(*layers, nn.LayerNorm(48), MeanToken(), nn.Linear(48, classes))


def vgg_bn(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four 3 x 3 convolutions with BatchNorm and SiLU, mean pooling, two linear layers."""
    layers: list[nn.Module] = []
    for a, b in ((channels, 16), (16, 32), (32, 48), (48, 64)):
        layers += [_conv(a, b), nn.BatchNorm2d(b), nn.SiLU()]
        layers += [nn.AvgPool2d(2)] if b != 48 else []
    head = nn.Flatten(), nn.Linear(64 * (side // 8) ** 2, 96), nn.SiLU(), nn.Linear(96, classes)
    return nn.Sequential(*layers, *head)


def res_mlp(channels: int, side: int, classes: int) -> nn.Sequential:
    """A perceptron of two residual blocks with LayerNorm."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(channels * side**2, 128)]
    for _ in range(2):
        inner = nn.LayerNorm(128), nn.Linear(128, 192), nn.GELU(), nn.Linear(192, 128)
        layers.append(Residual(nn.Sequential(*inner)))
    return nn.Sequential(*layers, nn.LayerNorm(128), nn.Linear(128, classes))


def separable(channels: int, side: int, classes: int) -> nn.Sequential:
    """Wide depthwise convolutions of 5 x 5 with GroupNorm and hard swish."""
    layers: list[nn.Module] = [_conv(channels, 32, 3, 2), nn.GroupNorm(4, 32), nn.Hardswish()]
    for a, b, stride in ((32, 48, 1), (48, 64, 2), (64, 96, 1)):
        layers += [_conv(a, a, 5, stride, groups=a), _conv(a, b, 1), nn.GroupNorm(4, b), nn.Hardswish()]
    return nn.Sequential(*layers, *_pooled(96, classes))


def coarse(channels: int, side: int, classes: int) -> nn.Sequential:
    """One convolution of 7 x 7 and stride 4, then a perceptron with dropout."""
    places = -(-side // 4)
    return nn.Sequential(
        _conv(channels, 32, 7, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * places**2, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, classes),
    )


def narrow(channels: int, side: int, classes: int) -> nn.Sequential:
    """Eight 3 x 3 convolutions of 20 channels with LayerNorm and ELU."""
    layers: list[nn.Module] = []
    for k in range(8):
        layers += [
            _conv(channels if k == 0 else 20, 20, 3, 2 if k in (1, 4) else 1),
            ChannelNorm(20),
            nn.ELU(),
        ]
    return nn.Sequential(*layers, *_pooled(20, classes))


def bottleneck(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three bottlenecks of 1 x 1, 3 x 3 and 1 x 1 convolutions with BatchNorm (after ResNet-50)."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        layers: list[nn.Module] = []
        for c, d, size, step in ((a, b // 4, 1, 1), (b // 4, b // 4, 3, stride), (b // 4, b, 1, 1)):
            layers += [_conv(c, d, size, step, bias=False), nn.BatchNorm2d(d), nn.ReLU()]
        return nn.Sequential(Residual(nn.Sequential(*layers[:-1]), _conv(a, b, 1, stride)), nn.ReLU())

    stem = _conv(channels, 24, 3, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()
    return nn.Sequential(*stem, block(24, 64, 1), block(64, 96, 2), block(96, 96, 1), *_pooled(96, classes))


def gated(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four convolutions whose outputs gate one another (gated linear units)."""
    layers: list[nn.Module] = []
    for a, b, stride in ((channels, 24, 2), (24, 32, 1), (32, 48, 2), (48, 64, 1)):
        layers += [_conv(a, 2 * b, 3, stride), nn.GLU(1)]
    return nn.Sequential(*layers, *_pooled(64, classes))


def smooth(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three 5 x 5 convolutions with softplus and mean pooling, and a linear head over all places."""
    layers: list[nn.Module] = []
    for a, b in ((channels, 16), (16, 24), (24, 32)):
        layers += [_conv(a, b, 5), nn.Softplus(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * (side // 8) ** 2, classes))


def bag(channels: int, side: int, classes: int) -> nn.Sequential:
    """A bag of squares of 8 pixels: each is judged alone, and the answers are averaged (after BagNet)."""
    return nn.Sequential(
        nn.Conv2d(channels, 96, 8, stride=2),
        nn.ReLU(),
        _conv(96, 96, 1),
        nn.ReLU(),
        _conv(96, classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def hourglass(channels: int, side: int, classes: int) -> nn.Sequential:
    """Down to an eighth of the side and up again to half of it, with BatchNorm."""
    layers: list[nn.Module] = []
    for a, b in ((channels, 24), (24, 40), (40, 56)):
        layers += [_conv(a, b, 3, 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    for a, b in ((56, 40), (40, 32)):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(128, classes))


def crossed(channels: int, side: int, classes: int) -> nn.Sequential:
    """Long thin convolutions of 1 x 7 and 7 x 1 with GroupNorm and tanh."""
    layers: list[nn.Module] = []
    for a, b in ((channels, 24), (24, 40), (40, 64)):
        layers += [nn.Conv2d(a, b, (1, 7), padding=(0, 3)), nn.Conv2d(b, b, (7, 1), stride=2, padding=(3, 0))]
        layers += [nn.GroupNorm(4, b), nn.Tanh()]
    return nn.Sequential(*layers, *_pooled(64, classes))


def shuffled(channels: int, side: int, classes: int) -> nn.Sequential:
    """Grouped 1 x 1 and depthwise convolutions with BatchNorm and shuffled channels (after ShuffleNet)."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        branch = nn.Sequential(
            _conv(a, b // 2, 1, groups=4, bias=False),
            nn.BatchNorm2d(b // 2),
            nn.ReLU(),
            Shuffle(4),
            _conv(b // 2, b // 2, 3, stride, groups=b // 2, bias=False),
            nn.BatchNorm2d(b // 2),
            _conv(b // 2, b, 1, groups=4, bias=False),
            nn.BatchNorm2d(b),
        )
        return nn.Sequential(Residual(branch, None if a == b else _conv(a, b, 1, stride)), nn.ReLU())

    stem = _conv(channels, 24, 3, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU()
    blocks = block(24, 96, 2), block(96, 96, 1), block(96, 160, 2), block(160, 160, 1)
    return nn.Sequential(*stem, *blocks, *_pooled(160, classes))


def nin(channels: int, side: int, classes: int) -> nn.Sequential:
    """Two 1 x 1 convolutions after each larger one, dropout, and the mean of answers (network in network)."""

    def block(a: int, b: int, size: int, last: int) -> tuple[nn.Module, ...]:
        larger = _conv(a, b, size, bias=False), nn.BatchNorm2d(b), nn.ReLU()
        return *larger, _conv(b, b, 1), nn.ReLU(), _conv(b, last, 1)

    return nn.Sequential(
        *block(channels, 32, 5, 32),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Dropout(0.2),
        *block(32, 64, 5, 64),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1),
        nn.Dropout(0.2),
        *block(64, 96, 3, classes),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def blurred(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four residual blocks with BatchNorm that blur before they leave out places (after Zhang 2019)."""

    def block(a: int, b: int) -> nn.Module:
        branch = nn.Sequential(
            _conv(a, b, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
            _conv(b, b, bias=False),
            nn.BatchNorm2d(b),
        )
        return nn.Sequential(Residual(branch, None if a == b else _conv(a, b, 1)), nn.ReLU())

    def blur() -> tuple[nn.Module, ...]:  # two means of 2 x 2 weigh places by 1, 2, 1
        return nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.AvgPool2d(2)

    return nn.Sequential(
        _conv(channels, 16, 5, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blur(),
        block(16, 24),
        *blur(),
        block(24, 48),
        *blur(),
        block(48, 64),
        block(64, 64),
        *_pooled(64, classes),
    )


def highway(channels: int, side: int, classes: int) -> nn.Sequential:
    """Four highway layers of 3 x 3 convolutions, no normalisation, and the largest values of a few places."""
    return nn.Sequential(
        _conv(channels, 32, 5, 2),
        nn.ReLU(),
        Highway(32),
        Highway(32),
        nn.MaxPool2d(2),
        _conv(32, 48, 1),
        Highway(48),
        Highway(48),
        nn.AdaptiveMaxPool2d(3),
        nn.Flatten(),
        nn.Linear(48 * 9, classes),
    )


def rep_vgg(channels: int, side: int, classes: int) -> nn.Sequential:
    """Five sums of a 3 x 3 and a 1 x 1 convolution and the input, each with BatchNorm (after RepVGG)."""

    def layer(a: int, b: int, stride: int) -> tuple[nn.Module, ...]:
        branches: list[nn.Module] = [
            nn.Sequential(_conv(a, b, size, stride, bias=False), nn.BatchNorm2d(b)) for size in (3, 1)
        ]
        if (a, stride) == (b, 1):
            branches.append(nn.BatchNorm2d(b))
        return Summed(*branches), nn.ReLU()

    steps = (channels, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2)
    return nn.Sequential(*itertools.chain(*(layer(*step) for step in steps)), *_pooled(96, classes))


def swin(channels: int, side: int, classes: int) -> nn.Sequential:
    """Attention within windows, moved in every second layer, at two scales (after Swin)."""

    def block(width: int, tokens: int, window: int, shift: int) -> tuple[nn.Module, ...]:
        attention = WindowAttention(width, width // 16, tokens, window, shift)
        inner = nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        return (
            Residual(nn.Sequential(nn.LayerNorm(width), attention)),
            Residual(nn.Sequential(nn.LayerNorm(width), *inner)),
        )

    tokens = side // 4
    return nn.Sequential(
        Patches(channels, side, 4, 48, places=False),
        nn.LayerNorm(48),
        *block(48, tokens, tokens // 3, 0),
        *block(48, tokens, tokens // 3, tokens // 6),
        Merge(48, tokens),
        *block(96, tokens // 2, tokens // 4, 0),
        *block(96, tokens // 2, tokens // 4, tokens // 8),
        nn.LayerNorm(96),
        MeanToken(),
        nn.Linear(96, classes),
    )


def maxout(channels: int, side: int, classes: int) -> nn.Sequential:
    """Three convolutions and a linear layer, each of which keeps the larger of two answers, with dropout."""
    layers: list[nn.Module] = []
    for a, b, size in ((channels, 24, 5), (24, 32, 3), (32, 48, 3)):
        layers += [_conv(a, 2 * b, size), Maxout(), nn.MaxPool2d(2)]
    head = nn.Linear(48 * (side // 8) ** 2, 128), Maxout(), nn.Dropout(0.3), nn.Linear(64, classes)
    return nn.Sequential(*layers, nn.Flatten(), *head)


def tokened(channels: int, side: int, classes: int) -> nn.Sequential:
    """A transformer of width 64 and depth 4 on squares of 5 pixels, with a token for the class."""
    layers: list[nn.Module] = [Patches(channels, side, 5, 64, places=True), ClassToken(64)]
    for _ in range(4):
        inner = nn.Linear(64, 192), nn.GELU(), nn.Linear(192, 64)
        layers += [
            Residual(nn.Sequential(nn.LayerNorm(64), Attention(64, 4))),
            Residual(nn.Sequential(nn.LayerNorm(64), *inner)),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(64), FirstToken(), nn.Linear(64, classes))


NETWORKS: dict[str, Callable[[int, int, int], nn.Sequential]] = {
    f.__name__: f
    for f in (
        vgg,
        group_norm_resnet,
        mobile,
        vit,
        mixer,
        wide,
        resnet20,
        lenet,
        mlp,
        tiny,
        leaky,
        convnext,
        fire,
        excited,
        pooling,
        conv_mixer,
        dense,
        norm_mlp,
        grouped,
        strided_gelu,
        inception,
        preact,
        dilated,
        hybrid,
        vgg_bn,
        res_mlp,
        separable,
        coarse,
        narrow,
        bottleneck,
        gated,
        smooth,
        bag,
        hourglass,
        crossed,
        shuffled,
        nin,
        blurred,
        highway,
        rep_vgg,
        swin,
        maxout,
        tokened,
    )
}
"""Constructors by name; each takes channels, side in pixels and number of classes."""

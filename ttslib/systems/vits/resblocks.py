"""HiFi-GAN's second kind of residual block, which Piper's small decoders have and Transformers' `VitsHifiGan` has not.

`with_blocks` gives a `VitsModel` the kind that its config names (`config.resblock`, "1" where it says nothing); `stock`
rewrites one of the second kind, exactly, as one that plain Transformers loads.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import VitsModel


class ResBlock2(nn.Module):
    """Dilated convolutions, each with a residual (HiFi-GAN, Kong et al. 2020, appendix A.1, `ResBlock2` in its code)."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], slope: float):
        super().__init__()
        self.slope = slope
        self.convs = nn.ModuleList(nn.Conv1d(channels, channels, kernel, dilation=d, padding="same") for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, samples)` to the same."""
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, self.slope))
        return x


def with_blocks(model: VitsModel) -> VitsModel:
    """The model itself, its decoder given untrained residual blocks of the kind that `config.resblock` names, if those
    are not the stock ones. Raises `ValueError` for a kind that does not exist."""
    config = model.config
    if (kind := getattr(config, "resblock", "1")) not in ("1", "2"):
        raise ValueError(f"config.resblock is {kind!r}; there are '1' and '2'")
    if kind == "2":
        shapes = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        model.decoder.resblocks = nn.ModuleList(
            ResBlock2(up.out_channels, kernel, tuple(dilations), config.leaky_relu_slope)
            for up in model.decoder.upsampler
            for kernel, dilations in shapes
        )
    return model


@torch.no_grad()
def stock(model: VitsModel) -> VitsModel:
    """The same voice, in eval mode, with blocks that plain Transformers knows: a decoder of twice the channels.

    The stock block is `x + conv2(leaky(conv1(leaky(x))))`; its second activation is undone by carrying each channel with
    both signs, since y = a (leaky(y) - leaky(-y)) with a = 1 / (1 + slope). The second half of the channels holds -y
    between the two convolutions and zero elsewhere. The waveform is the same up to rounding; the decoder costs four
    times as much, so this is for export, not for training. A model with stock blocks comes back as a copy.
    """
    if getattr(model.config, "resblock", "1") == "1":
        return copy.deepcopy(model).eval()
    config = copy.deepcopy(model.config)
    config.upsample_initial_channel *= 2
    del config.resblock
    wide = VitsModel(config)
    state = {name: torch.zeros_like(tensor) for name, tensor in wide.state_dict().items()}
    for name, tensor in model.state_dict().items():
        if not name.startswith("decoder.resblocks."):
            state[name][tuple(slice(size) for size in tensor.shape)] = tensor
    for i, block in enumerate(model.decoder.resblocks):
        for j, conv in enumerate(block.convs):
            prefix, n, kernel = f"decoder.resblocks.{i}.", conv.out_channels, conv.kernel_size[0]
            for sign, rows in ((1, slice(0, n)), (-1, slice(n, 2 * n))):
                state[f"{prefix}convs1.{j}.weight"][rows, :n] = sign * conv.weight
                state[f"{prefix}convs1.{j}.bias"][rows] = sign * conv.bias
                undo = sign * torch.eye(n) / (1 + block.slope)
                state[f"{prefix}convs2.{j}.weight"][:n, rows, kernel // 2] = undo.to(conv.weight)
    wide.load_state_dict(state)
    wide.noise_scale, wide.noise_scale_duration = model.noise_scale, model.noise_scale_duration
    wide.speaking_rate = model.speaking_rate
    return wide.eval().to(model.device)

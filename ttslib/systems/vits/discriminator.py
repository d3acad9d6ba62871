"""VITS's discriminator: one on the waveform, five on its folds (HiFi-GAN's multi-period discriminator, Kong et al. 2020).

Parameters are named as in the original repository (jaywalnut310/vits, models.py), so that an original `D_*.pth` loads:
`discriminators.0` hears the waveform, 1..5 the periods 2, 3, 5, 7, 11. No inference checkpoint carries these weights.
"""

import math
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttslib import processes
from ttslib.checkpoint import CheckpointError

PERIODS = (2, 3, 5, 7, 11)
SLOPE = 0.1  # of the leaky ReLUs
# (channels out, kernel, stride, groups) at full width
SCALE = ((16, 15, 1, 1), (64, 41, 4, 4), (256, 41, 4, 16), (1024, 41, 4, 64), (1024, 41, 4, 256), (1024, 5, 1, 1))
PERIOD = ((32, 5, 3, 1), (128, 5, 3, 1), (512, 5, 3, 1), (1024, 5, 3, 1), (1024, 5, 1, 1))


class Conv(nn.Module):
    """Weight-normalised convolution (Salimans and Kingma 2016) with plain parameters `weight_g`, `weight_v`, `bias`.

    `dims` 1 convolves `(b, c, t)`; 2 convolves `(b, c, t, period)` along time alone.
    """

    def __init__(self, dims: int, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        shape = (c_out, c_in // groups, kernel, *[1] * (dims - 1))
        self.weight_v = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight_v, a=math.sqrt(5))
        self.weight_g = nn.Parameter(self.weight_v.detach().flatten(1).norm(dim=1).view(-1, *[1] * (dims + 1)))
        bound = 1 / math.sqrt(self.weight_v[0].numel())
        self.bias = nn.Parameter(torch.empty(c_out).uniform_(-bound, bound))
        rest = (1,) * (dims - 1), (0,) * (dims - 1)
        self.conv = F.conv1d if dims == 1 else F.conv2d
        self.options = {"stride": (stride, *rest[0]), "padding": ((kernel - 1) // 2, *rest[1]), "groups": groups}

    def forward(self, x: Tensor) -> Tensor:
        weight = torch._weight_norm(self.weight_v, self.weight_g, 0)
        return self.conv(x, weight, self.bias, **self.options)


class Hearing(nn.Module):
    """One discriminator: the features of each layer and the score, from a waveform `(b, 1, samples)`."""

    def __init__(self, period: int | None, width: float):
        super().__init__()
        self.period, dims, c_in = period, 1 if period is None else 2, 1
        self.convs = nn.ModuleList()
        for channels, kernel, stride, groups in SCALE if period is None else PERIOD:
            c_out = max(1, int(channels * width))
            self.convs.append(Conv(dims, c_in, c_out, kernel, stride, min(groups, c_in)))
            c_in = c_out
        self.conv_post = Conv(dims, c_in, 1, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if self.period is not None:
            if missing := -x.shape[2] % self.period:
                x = F.pad(x, (0, missing), "reflect")
            x = x.unflatten(2, (-1, self.period))
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            features.append(x)
        features.append(self.conv_post(x))
        return features[-1].flatten(1), features


class Discriminator(nn.Module):
    """All six. `width` scales the channels: 1 is VITS's own (46.75 M parameters), smaller powers of two are for tests."""

    def __init__(self, width: float = 1.0):
        super().__init__()
        self.discriminators = nn.ModuleList([Hearing(None, width), *(Hearing(p, width) for p in PERIODS)])
        self.register_buffer(
            "lessons", torch.zeros((), dtype=torch.long)
        )  # batches it has learnt from, by all processes

    def taught(self, ramp: int, training: bool) -> float:
        """How much what it says counts, 0 to 1: a fresh one would mislead. It rises over `ramp` lessons of each process; in
        training, one more is counted."""
        rank, count = processes.place()
        before = self.lessons.item() + rank * training
        self.lessons += count * training
        return min(1.0, before / (ramp * count)) if ramp else 1.0

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Scores `(b, places)` and features by discriminator, of waveforms `(b, 1, samples)`.

        Real and generated speech are heard in one call, as one batch, so that a data-parallel wrapper sees one forward
        for one backward.
        """
        heard = [d(wav) for d in self.discriminators]
        return [score for score, _ in heard], [features for _, features in heard]


def load_original(net: Discriminator, path: str | Path) -> None:
    """Fill `net` from an original checkpoint (`D_*.pth`, its weights under `model`). Raises `CheckpointError`."""
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file; vits.discriminator_from names an original VITS D_*.pth")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(found.get("model", found) | {"lessons": torch.tensor(2**31)})
    except (UnpicklingError, RuntimeError, TypeError, EOFError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path}: not the discriminator of VITS at this width ({first})") from None

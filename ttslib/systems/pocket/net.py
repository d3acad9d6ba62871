"""The language model of Pocket TTS over continuous latents, under the names of the published checkpoints, and its loss.

Sequence of pocket-tts 4.0.1: `[bos_before_voice][latents of a voice][text][bos_emb, latents]`. The state at a frame's
place foretells the next frame through the head, and whether there is one. Samples are laid out without gaps
(`ttslib.packing`); every one has a place behind its last frame, where the end is the target.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttslib import packing
from ttslib.sections import Pocket
from ttslib.systems.pocket import objective
from ttslib.systems.pocket.backbone import State, Transformer
from ttslib.systems.pocket.head import TIMES, Head


class Conditioner(nn.Module):
    """The text table, low-rank where the shape says so; its last row is padding that is never placed."""

    def __init__(self, rows: int, dim: int, rank: int | None):
        super().__init__()
        self.embed = nn.Embedding(rows, rank or dim)
        self.proj = nn.Linear(rank, dim, bias=False) if rank else None

    def forward(self, ids: Tensor) -> Tensor:
        found = self.embed(ids)
        return found if self.proj is None else self.proj(found)


class FlowLM(nn.Module):
    """The published network: backbone, text table, head, end of speech."""

    def __init__(self, shape):
        super().__init__()
        self.shape, z = shape, shape.z_dim or shape.dim
        self.register_buffer("emb_std", torch.ones(shape.latent))
        self.register_buffer("emb_mean", torch.zeros(shape.latent))
        self.bos_emb = nn.Parameter(torch.randn(shape.latent))
        if shape.voice_bos:
            self.bos_before_voice = nn.Parameter(torch.randn(1, 1, shape.dim))
        self.speaker_proj_weight = nn.Parameter(torch.empty(shape.dim, shape.voice))
        self.conditioner = Conditioner(shape.text_rows, shape.dim, shape.rank)
        self.input_linear = nn.Linear(shape.latent, shape.dim, bias=False)
        self.transformer = Transformer(shape)
        self.out_norm = nn.LayerNorm(shape.dim)
        self.z_proj = nn.Linear(shape.dim, shape.z_dim, bias=False) if shape.z_dim else None
        self.out_eos = nn.Linear(z, 1)
        self.flow_net = Head(shape.latent, shape.flow_dim, shape.flow_depth, z, TIMES[shape.flow])
        self.start()

    def start(self) -> None:
        """The published start from nothing: normals cut at three deviations of 1 / sqrt(inputs)."""
        matrices = [m for part in (self.transformer, self.input_linear, self.conditioner) for m in part.modules()]
        tables = [(m.weight, m.weight.shape[1]) for m in matrices if isinstance(m, nn.Linear | nn.Embedding)]
        for weight, inputs in [*tables, (self.speaker_proj_weight, self.shape.voice)]:
            std = 1 / math.sqrt(inputs)
            nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)

    def normalised(self, latents: Tensor) -> Tensor:
        return (latents - self.emb_mean) / self.emb_std

    def prefix(self, voice: Tensor, text: Tensor) -> list[Tensor]:
        """What stands before speech, of a batch, embedded: the mark before the voice, where there is one, raw latents of a
        voice `(batch, frames, latent)`, text ids `(batch, length)`."""
        marks = [self.bos_before_voice.expand(len(voice), -1, -1)] if self.shape.voice_bos else []
        return [*marks, F.linear(voice, self.speaker_proj_weight), self.conditioner(text)]

    def out(self, hidden: Tensor) -> Tensor:
        """What the heads read, of the backbone's output `(..., dim)`."""
        hidden = self.out_norm(hidden)
        return hidden if self.z_proj is None else self.z_proj(hidden)

    def read(self, embedded: Tensor, state: State) -> Tensor:
        """The state `(batch, dim)` after the last of what is read, `(batch, length, dim)`."""
        return self.out(self.transformer.read(embedded, state)[:, -1])


class Net(nn.Module):
    """What is trained: the published network, and the learned weight of its objective."""

    def __init__(self, shape, settings: Pocket):
        super().__init__()
        self.shape, self.settings = shape, settings
        self.flow_lm = FlowLM(shape)
        self.precision = nn.Parameter(torch.zeros(()), requires_grad=shape.flow == "lsd")
        self.register_buffer("turns", torch.zeros((), dtype=torch.long))
        self.taken = torch.Generator(), -1  # the draws of `distills`, and how many were taken
        self.teacher: list[FlowLM] = []  # in a list: it is no part of this network, nor of its checkpoints

    @property
    def device(self) -> torch.device:
        return self.precision.device

    def taught(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Depth distillation: squared error between this network's states and the teacher's, guided, mean over numbers and
        positions, the one behind the last frame among them (`distill_mse` of the published trainer)."""
        teacher, guidance = self.teacher[0].to(self.device), self.settings.teacher_guidance
        with torch.no_grad():
            target = self.states(batch, lm=teacher)[0]
            if guidance != 1:
                nothing = torch.zeros(len(batch["text"]), dtype=torch.bool, device=self.device)
                bare = self.states(batch, (nothing, nothing), teacher)[0]
                target = bare + guidance * (target - bare)
        return {"states": F.mse_loss(self.states(batch)[0].float(), target.float())}

    def states(
        self, batch: dict[str, Tensor], keep: Sequence[Tensor] | None = None, lm: FlowLM | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """States `(positions, z)` from which the frames are foretold, sample after sample, a position more than there are
        frames in each; the normalised frames `(frames, latent)`; and which positions foretell one `(positions,)`.

        `batch` has `text` (batch, ids), `latents` (batch, latent, frames), `prompt` (batch, frames, latent), each with its
        `_len`. `keep` are two masks `(batch,)`: whose voice and whose text are given. `lm`: another network than this one's.
        """
        lm, count = lm or self.flow_lm, batch["latents_len"]
        frames = lm.normalised(batch["latents"].transpose(1, 2))
        speech = lm.input_linear(torch.cat([lm.bos_emb.expand(len(frames), 1, -1), frames], 1))
        *marks, voice, text = lm.prefix(batch["prompt"], batch["text"])
        lengths = [batch["prompt_len"], batch["text_len"]]
        if keep is not None:
            lengths = [length * kept.to(length) for length, kept in zip(lengths, keep, strict=True)]
        one = torch.ones_like(count)
        streams = [*((mark, one) for mark in marks), (voice, lengths[0]), (text, lengths[1]), (speech, count + 1)]
        packed = packing.pack(streams, self.settings.packing)
        z = lm.out(packed.stream(lm.transformer(packed.values, packed.positions, packed.blocks), len(streams) - 1))
        places = packing.valid(count + 1, frames.shape[1] + 1)
        followed = packing.valid(count, frames.shape[1] + 1)[places]
        return z, frames[packing.valid(count, frames.shape[1])], followed

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms that are learnt from, weighted: `flow` and `distillation` of the head (means over frames and draws),
        `eos` (mean over positions). In training voice and text are withheld now and then, each by itself.

        Outside training also, plain: `diagonal_raw`, `distillation_raw`, `eos_raw`, and `end`, the probability of the end
        where speech ends.
        """
        s, count = self.settings, len(batch["text"])
        dropped = (s.drop_voice, s.drop_text) if self.training else (0.0, 0.0)
        # Drawn in any case, as in the published trainer: the same seed then draws the same noise below.
        keep = [(torch.rand(count) < 1 - share).to(self.device) for share in dropped]
        if self.teacher:
            return self.taught(batch)
        z, x, followed = self.states(batch, keep)
        logits = self.flow_lm.out_eos(z)[:, 0]
        end = objective.ends(logits, ~followed)
        terms, raw = self.flow(z[followed], x)
        terms["eos"] = s.eos_weight * end
        if not self.training:
            terms |= raw | {"eos_raw": end, "end": logits[~followed].sigmoid().mean()}
        return terms

    def flow(self, z: Tensor, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The head's terms, weighted and raw, of states `(frames, z)` and normalised latents `(frames, latent)`.

        Each state is used for several draws of noise and times; they come from the CPU, in the published order.
        """
        s, head = self.settings, self.flow_lm.flow_net
        given, x = head.cond_embed(z).repeat(s.draws, 1), x.repeat(s.draws, 1)

        def velocity(*rest: Tensor, fast: bool = False) -> Tensor:
            return head(given, *rest, fast=fast)

        noise = torch.randn(x.shape).to(x)
        if self.shape.flow == "flow_matching":
            plain = objective.matching(velocity, x, noise, torch.rand(len(x), 1).to(x)).mean()
            return {"flow": plain}, {"diagonal_raw": plain}
        t = objective.logit_normal(len(x), 1, s.time_mean, s.time_std).to(x)
        diagonal, dim = objective.diagonal(velocity, x, noise, t), x.shape[-1]
        terms = {"flow": s.diagonal * objective.weighed(diagonal, self.precision, dim).mean()}
        raw = {"diagonal_raw": diagonal.mean()}
        if not self.training or self.distills():
            times = objective.logit_normal(len(x), 2, s.time_mean, s.time_std).to(x)
            early, late = times.amin(-1, keepdim=True), times.amax(-1, keepdim=True)
            jumps = objective.distillation(velocity, x, noise, early, late, s.stop_gradient)
            often = s.distill_share if self.training else 1.0
            share = (1 - s.diagonal) / often
            terms["distillation"] = share * objective.weighed(jumps, self.precision, dim).mean()
            raw["distillation_raw"] = jumps.mean()
        return terms, raw

    def distills(self) -> bool:
        """Whether this step computes the self-distillation: a share of the steps, by draws that every process makes alike
        and that a resumed run takes up where they stood."""
        generator, at = self.taken
        turn = int(self.turns)
        if at != turn:
            generator.manual_seed(0)
            torch.rand(turn, generator=generator)
        drawn = float(torch.rand((), generator=generator))
        self.turns += 1
        self.taken = generator, turn + 1
        return drawn < self.settings.distill_share


PRESETS = {
    "unit": {"dim": 64, "heads": 4, "layers": 2, "ff": 256, "flow_dim": 64, "flow_depth": 2},
    "tiny": {"dim": 128, "heads": 4, "layers": 4, "ff": 512, "flow_dim": 128, "flow_depth": 3},
    "small": {"dim": 256, "heads": 4, "layers": 6, "ff": 1024, "flow_dim": 256, "flow_depth": 4},
    "6l": {},
    "24l": {"layers": 24},
}

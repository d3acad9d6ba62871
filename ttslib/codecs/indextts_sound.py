"""The decoder of IndexTTS2: s2mel makes mels of codes and of its language model's states, BigVGAN v2 makes sound of mels.

Steps and numbers are those of `infer_v2.py` in `indextts2-inference` 2.1.1 (`_load_s2mel`, `_load_vocoder`,
`_get_speaker_conditioning`, the end of `infer_generator`), the networks that package's (bilibili Model Use License),
without its fused kernels for CUDA and torch.compile.
"""

import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType, SimpleNamespace

import torch
import yaml
from torch import Tensor, nn

from ttslib.codecs import CodecError
from ttslib.codecs.indextts import HUB, INSTALL, part
from ttslib.codecs.published import imported

RATE = 22050
STEPS, GUIDANCE = 25, 0.7  # of the flow: Euler's, and away from what knows neither speaker nor codes
PACE = 1.72  # mel frames of 256 samples a code
# in a checkpoint of s2mel, but computed or without use: the only ones it may lack or have in other shapes
IDLE = {
    "estimator.input_pos", "estimator.t_embedder.freqs", "estimator.t_embedder2.freqs", "estimator.cond_embedder.weight",
    "estimator.content_mask_embedder.weight", "embedding.weight", "mask_token",
}  # fmt: skip


class Sound:
    """Networks are made when they are first needed, and stay: CAM++ for a voice, s2mel and BigVGAN for speech."""

    def __init__(self, source: str) -> None:
        """Finds the files of `source`, a folder or a hub id. Raises `CodecError` naming both places where a missing one
        may be, or when the configuration is none."""
        self.device = torch.device("cpu")
        path = part(source, ("config.yaml",), HUB, own=True)
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            checkpoint, vocoder = str(config["s2mel_checkpoint"]), str(config["vocoder"]["name"])
            self.config = json.loads(json.dumps(config["s2mel"]), object_hook=lambda found: SimpleNamespace(**found))
            given = config["s2mel"]["preprocess_params"]["spect_params"]
            self.mels = {
                "n_fft": given["n_fft"], "win_size": given["win_length"], "hop_size": given["hop_length"],
                "num_mels": given["n_mels"], "sampling_rate": config["s2mel"]["preprocess_params"]["sr"],
                "fmin": given.get("fmin", 0), "fmax": None if given.get("fmax", "None") == "None" else 8000,  # the runtime's
            }  # fmt: skip
        except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CodecError(f"{path}: no configuration of IndexTTS2: {error!r}") from error
        self.paths = {
            "s2mel": part(source, (checkpoint,), HUB, own=True),
            "campplus": part(source, ("campplus_cn_common.bin",), "funasr/campplus", own=False),
            "sizes": part(source, ("bigvgan/config.json",), f"{vocoder}/config.json", own=False),
            "bigvgan": part(source, ("bigvgan/bigvgan_generator.pt",), f"{vocoder}/bigvgan_generator.pt", own=False),
        }

    def to(self, device: torch.device) -> "Sound":
        """The same, computing on `device`: what is there moves, what is made later is made there."""
        self.device = device
        for name in {"s2mel", "campplus", "bigvgan"} & self.__dict__.keys():
            settled(self.__dict__[name], device)
        return self

    @cached_property
    def s2mel(self) -> nn.ModuleDict:
        """`cfm`, `length_regulator` and `gpt_layer`. Raises `CodecError` unless every weight that counts is there."""
        path = self.paths["s2mel"]
        weights = read(path, "net")
        try:
            with quiet():
                package("flow_matching"), package("length_regulator")  # MyModel imports them, too late for `imported`
                made = package("commons").MyModel(self.config, use_gpt_latent=True).models
                own = {name.removeprefix("module."): value for name, value in weights["gpt_layer"].items()}
                sizes = [own[f"{i}.weight"].shape for i in range(len(own) // 2)]  # MyModel's are those of 1280 latents
                made["gpt_layer"] = nn.Sequential(*(nn.Linear(size[1], size[0]) for size in sizes))
            for name, module in made.items():
                fitting(module, weights[name], f"{path}: {name}")
        except (KeyError, AttributeError, TypeError, IndexError) as error:
            raise CodecError(f"{path} or its configuration: no s2mel of IndexTTS2: {error!r}") from error
        return settled(made.eval(), self.device)

    @cached_property
    def campplus(self) -> nn.Module:
        """CAM++. Raises `CodecError`."""
        with quiet():
            made = package("campplus.DTDNN").CAMPPlus(feat_dim=80, embedding_size=192)
        return settled(fill(made, read(self.paths["campplus"]), str(self.paths["campplus"])), self.device)

    @cached_property
    def bigvgan(self) -> nn.Module:
        """BigVGAN v2 without its weight norm, whether it was saved with or without. Raises `CodecError`."""
        weights = read(self.paths["bigvgan"], "generator")
        try:
            with quiet():
                network = package("bigvgan.bigvgan")
                made = network.BigVGAN(network.load_hparams_from_json(self.paths["sizes"]), use_cuda_kernel=False)
        except (json.JSONDecodeError, TypeError, AttributeError, NotImplementedError) as error:
            raise CodecError(f"{self.paths['sizes']}: no configuration of BigVGAN: {error!r}") from error
        if "conv_pre.weight_g" not in weights:
            made.remove_weight_norm()
        fill(made, weights, str(self.paths["bigvgan"])).remove_weight_norm()  # a second time it does nothing
        return settled(made, self.device)

    @torch.no_grad()
    def heard(self, wav: Tensor, rate: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of `(samples,)` at `rate` Hz the mels `(n_mels, frames)` at 22.05 kHz and CAM++'s vector `(192,)`, which it makes
        of the log energies of 80 Kaldi bands without their means; and, on the CPU, the samples at 16 kHz."""
        from torchaudio.compliance import kaldi
        from torchaudio.transforms import Resample

        low, high = (Resample(rate, wanted)(wav) for wanted in (16000, RATE))
        with quiet():
            mel = package("audio").mel_spectrogram(high[None].to(self.device), **self.mels, center=False)[0]
        bands = kaldi.fbank(low[None].to(self.device), num_mel_bins=80, dither=0, sample_frequency=16000)
        return mel, self.campplus((bands - bands.mean(0, keepdim=True))[None])[0], low

    @torch.no_grad()
    def spoken(self, codes: Tensor, latents: Tensor, prompt: Tensor, voice: Mapping[str, Tensor]) -> Tensor:
        """Samples `(n,)` in [-1, 1] on the device, n = int(1.72 * codes) * 256; torch's generator decides.

        `codes` (codes, width) and `prompt` (frames, width) are what the codec's codes stand for, `latents` (codes, dim)
        the language model's states, `voice` what `heard` gave: `mel` and `style`. Raises `CodecError` for latents that
        are not for this s2mel.
        """
        layer, flow = self.s2mel["gpt_layer"], self.s2mel["cfm"]
        if latents.shape != (len(codes), layer[0].in_features) or not latents.isfinite().all():
            raise CodecError(
                f"indextts: latents of shape {tuple(latents.shape)}; s2mel takes {layer[0].in_features} finite numbers for "
                f"each of {len(codes)} codes, the states of the language model that it was trained with"
            )
        mel, style = (voice[name].to(self.device)[None] for name in ("mel", "style"))
        frames = int((torch.tensor([len(codes)]) * PACE).long())  # in float32, as the runtime counts
        with torch.autocast(self.device.type, enabled=False):
            said = codes + layer(latents.to(self.device).float())
            both = torch.cat([self.paced(prompt, mel.shape[2]), self.paced(said, frames)], 1)
            length = torch.tensor([both.shape[1]], device=self.device)
            module = package("flow_matching")
            bar, module.tqdm = module.tqdm, iter  # no bar of progress
            try:
                made = flow.inference(both, length, mel, style, None, STEPS, inference_cfg_rate=GUIDANCE)
            finally:
                module.tqdm = bar
            return self.bigvgan(made[:, :, mel.shape[2] :].float())[0, 0].clamp(-1, 1)

    def paced(self, states: Tensor, frames: int) -> Tensor:
        """`(n, width)` -> `(1, frames, channels)`, what the flow reads beside the mels."""
        lengths = torch.tensor([frames], device=self.device)
        return self.s2mel["length_regulator"](states[None], ylens=lengths, n_quantizers=3, f0=None)[0]


def package(name: str) -> ModuleType:
    """A module of the package's s2mel. Its `commons` wants munch for what is not used here; where that is not installed,
    dict stands for it while the module is imported. Raises `CodecError`."""
    lacking = "munch" not in sys.modules and importlib.util.find_spec("munch") is None
    if lacking:
        sys.modules["munch"] = ModuleType("munch")
        sys.modules["munch"].Munch = dict
    try:
        return imported(f"indextts.s2mel.modules.{name}", INSTALL)
    finally:
        if lacking:
            del sys.modules["munch"]


@contextmanager
def quiet() -> Iterator[None]:
    """Imports and networks made inside leave torch's generator and the filters of warnings as they were."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of the old weight norm
        yield


def settled(made: nn.Module, device: torch.device) -> nn.Module:
    """`made` on `device`, with s2mel's tables, which do not move by themselves."""
    made = made.to(device)
    if isinstance(made, nn.ModuleDict):
        made["cfm"].estimator.transformer.max_seq_length = -1  # else it takes them to be there
        made["cfm"].estimator.setup_caches(max_batch_size=1, max_seq_length=8192)
    return made


def read(path: Path, key: str | None = None) -> dict:
    """A checkpoint, or what it has under `key`, without torch's versions of modules: so CAM++'s needs no counters of
    batches. Raises `CodecError`."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        return dict(found[key] if key else found)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise CodecError(f"{path}: no weights{f' under {key!r}' if key else ''} in it: {error!r}") from error


def fill(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> nn.Module:
    """`module` with all of these weights and no others, in evaluation. Raises `CodecError`."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise CodecError(f"{what}: weights that do not fit: {' '.join(str(error).split()[:30])}") from error
    return module.eval()


def fitting(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Fills `module` as the package does, with what fits by name and shape. Raises `CodecError` when that leaves out one
    that is not in IDLE, where the package would go on with random ones."""
    own = module.state_dict()
    given = {name.removeprefix("module."): value for name, value in weights.items()}
    fits = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    if wrong := own.keys() - IDLE - fits.keys():
        raise CodecError(f"{what}: {len(wrong)} weights missing or misshapen, as {sorted(wrong)[:3]}")
    module.load_state_dict(fits, strict=False)

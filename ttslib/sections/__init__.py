"""Every parameter there is, by section; the docstring under a field states its meaning and unit."""

from typing import Annotated, Literal

import yaml
from pydantic import Field

from ttslib.sections.base import Count, Positive, Section
from ttslib.sections.evaluation import Evaluate
from ttslib.sections.speech import Corpus, Data, Doctor, Source, Text, Vocab
from ttslib.sections.systems import T3, Acoustic, IndexTTS, MelCodec, Pairs, Pocket, Style, Vits
from ttslib.sections.training import Adapt, Lora, Refine, Replay, Synthesis, Train

__all__ = [
    "T3",
    "Acoustic",
    "Adapt",
    "Corpus",
    "Data",
    "Doctor",
    "Evaluate",
    "IndexTTS",
    "Lora",
    "MelCodec",
    "Params",
    "Pocket",
    "Refine",
    "Replay",
    "Source",
    "Synthesis",
    "Text",
    "Train",
    "Vits",
    "Vocab",
]  # fmt: skip


class Params(Section):
    lang: Annotated[str, Field(min_length=2)] = "am"
    """language: the name of a file in params/, used for its normaliser, its voice and its outputs (ISO 639 code)"""
    languages: list[str] = []
    """languages read from the corpus when there is more than one (ISO 639 codes); empty = only `lang`"""
    system: Literal["acoustic", "vits", "t3", "indextts", "pocket", "style"] = "acoustic"
    """which text-to-speech system is trained"""
    codec: str | None = None
    """what turns speech into codes, for systems that learn codes: mel-6561, mel-8192, mel-vae (trained on the corpus),
    s3=, mimi=, dac=, pocket=, indextts=<hub id or folder> (published), or the folder of one of ours; null = as the system
    wants"""
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """name of the run: its files are in outputs/<lang>/<system>/<run>/; null = the next number to train, the last run to
    listen to"""
    minutes: Positive | None = None
    """time budget of training, evaluation and saving together (minutes); null = train.steps decides"""
    resume: bool = False
    """continue the run's latest checkpoint"""
    feedback: str | None = None
    """file of listeners' feedback to train with (JSON lines; ttslib feedback writes it); null = none"""
    seed: int = Field(default=1, ge=0)
    """seed of initial weights, data order, dropout and synthesis"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to train; auto = cuda, else mps, else cpu"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """arithmetic of the training step; auto = bf16 on a GPU that has it, else fp32"""
    sharding: Literal["none", "full"] = "none"
    """what several processes keep of the weights, gradients and optimizer state: none = each has all (DDP); full = each a
    share (FSDP2; t3, indextts, pocket, acoustic)"""
    threads: Count | None = None
    """CPU threads; null = all cores this process may use"""
    processes: Count = 1
    """processes of this machine that train together, one a GPU, started by notebook 03 or `ttslib train`; 1 = this one
    alone, or those that torchrun or `accelerate launch` started"""
    tracking: Literal["online", "offline", "disabled"] = "offline"
    """Weights & Biases; online needs WANDB_API_KEY, without one it becomes offline; history.jsonl is always written"""
    corpus: Corpus = Corpus()
    """where the speech comes from"""
    doctor: Doctor = Doctor()
    """limits of the corpus doctor"""
    text: Text = Text()
    """how text becomes units"""
    vocab: Vocab = Vocab()
    """how a tokenizer learns a new language"""
    adapt: Adapt = Adapt()
    """how a trained model learns a new language"""
    replay: Replay = Replay()
    """what keeps the base language from being forgotten"""
    refine: Refine = Refine()
    """how feedback becomes training clips"""
    data: Data = Data()
    """how examples become batches"""
    acoustic: Acoustic = Acoustic()
    """the acoustic system's features and network"""
    vits: Vits = Vits()
    """the VITS system's network and loss weights"""
    mel_codec: MelCodec = MelCodec()
    """our own codec's network and training"""
    t3: T3 = T3()
    """the T3 system's network, loss and sampling"""
    indextts: IndexTTS = IndexTTS()
    """the IndexTTS2 system's network, loss and sampling"""
    pocket: Pocket = Pocket()
    """the Pocket TTS system's network, loss and sampling"""
    style: Style = Style()
    """the encoder of Supertonic's voice styles: network, loss and what is done to recordings"""
    pairs: Pairs = Pairs()
    """how pairs of speech and style are made (corpus.source: style_npz)"""
    train: Train = Train()
    """optimisation"""
    synthesis: Synthesis = Synthesis()
    """what is spoken while listening"""
    evaluate: Evaluate = Evaluate()
    """how speech is judged"""

    @property
    def langs(self) -> list[str]:
        return self.languages or [self.lang]

    @property
    def replayed(self) -> float:
        """Share of the training clips that are replayed (0..1)."""
        return self.refine.replay if self.feedback else self.replay.ratio

    def __str__(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

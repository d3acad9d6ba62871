"""Sections about training: a base and what of it learns, what is replayed, the loop, what is heard."""

from typing import Annotated, Literal

from pydantic import Field

from ttslib.sections.base import Count, Positive, Section, Share
from ttslib.sections.speech import Source


class Lora(Section):
    rank: Count = 16
    """rank of the update of each layer"""
    alpha: Positive = 32.0
    """the update is scaled by alpha / rank"""
    dropout: Share = 0.0
    """dropout before each update (0..1)"""
    targets: list[str] = []
    """name endings of the layers, e.g. [q_proj, v_proj]; empty = every linear and Conv1D layer that is not a token table"""


class Adapt(Section):
    base: str | None = None
    """checkpoint to start from: a run's folder, a checkpoint or exported folder, or, where the system has them, a published
    checkpoint by hub id or folder; null = train from scratch"""
    train_rows: Literal["new", "all"] = "new"
    """rows of the token tables that learn: only the new ones (the base's cannot move by a bit), or all"""
    freeze_until: int | None = Field(default=None, ge=0)
    """the same said with an index: rows below it are frozen, those from it on learn; null = where the base's rows end"""
    body: Literal["all", "lora", "none"] = "all"
    """what learns beside the rows: the whole network, LoRA updates of its layers, or nothing"""
    rows_first: int = Field(default=0, ge=0)
    """steps in which only the new rows learn, before everything else that learns begins (steps)"""
    rows_lr: Positive = 5.0
    """learning rate of the new rows as a multiple of train.lr; they have no weight decay"""
    init: Literal["mean", "pieces", "romanised"] = "romanised"
    """how new rows start: romanised = mean of the base's rows that spell the token, or else its romanisation; pieces = only
    where the base can spell the token itself; mean = of all the base's rows, to which the others fall where they must"""
    like: dict[str, str] = {}
    """new token: base token whose row it starts from, e.g. {"ş": "s", "fr": "it"}; goes before `init`"""
    noise: Annotated[float, Field(ge=0)] = 0.05
    """noise on new rows, as a share of the standard deviation of the base's rows, so that no two are equal"""
    lora: Lora = Lora()
    """LoRA updates (body: lora)"""


class Replay(Section):
    lang: str | None = None
    """params file of the base language(s) that must not be forgotten, e.g. en; null = no guard"""
    ratio: Share = 0.15
    """share of the training clips taken from it (0..1); 0 = only watched"""
    source: Source | None = None
    """corpus of the base language; null = as its params file says"""
    path: str | None = None
    """folder or file of that corpus; null = as its params file says"""
    max_rise: Positive = 0.3
    """rise of the base language's validation loss (sum of its terms) that trips the wire"""
    tripwire: Literal["stop", "warn"] = "warn"
    """what happens then"""


class Refine(Section):
    corrected: Count = 4
    """times that an epoch has each corrected clip"""
    generated: Count = 1
    """times that an epoch has each accepted generation of a rejected text"""
    flagged: Count = 3
    """times that an epoch has each training clip with a flagged word"""
    tries: Count = 4
    """times that a rejected text is generated, with seeds from 0 on; the best one is kept, if any"""
    margin: Share = 0.05
    """a generation is accepted up to this much above the recogniser's own character error rate on recordings (0..1)"""
    replay: Share = 0.5
    """share of the training clips that are replayed, of the corpus and of `replay.lang` (0..1); goes before replay.ratio"""


class Train(Section):
    steps: Count = 2000
    """optimizer steps when `minutes` is null"""
    epochs: Count | None = None
    """passes over the training clips, instead of `steps`; null = `steps` decide"""
    lr: Positive = 1.0e-3
    """peak learning rate"""
    warmup: int = Field(default=100, ge=0)
    """linear warm-up (steps); the rate then falls on a cosine"""
    warmup_epochs: Annotated[float, Field(ge=0)] | None = None
    """the same in passes over the training clips, instead of `warmup`"""
    final_lr: Share = 0.02
    """share of the peak rate at the end of the cosine (0..1)"""
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.98)
    """AdamW's betas"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's weight decay, on matrices only"""
    clip_norm: Positive = 1.0
    """gradient norm is clipped to this"""
    ema: Share = 0.0
    """decay of the exponential moving average of the weights used to listen and export; 0 = none"""
    evaluate_every: Count = 500
    """validation, fixed sentences and `best` every so many steps"""
    each_epoch: bool = False
    """also at the end of every epoch"""
    checkpoint_every: Count = 500
    """periodic checkpoint every so many steps"""
    keep: Count = 2
    """periodic checkpoints kept; best and latest are always kept"""
    write_behind: bool | None = None
    """checkpoints are written while training goes on, which takes their size in RAM; null = on a GPU"""
    choose: Literal["speech", "validation", "last"] = "speech"
    """which checkpoint is `best`, heard and exported: the one that is understood best (`evaluate.small` validation clips:
    character errors above the recordings', then faulty sentences, then the validation loss), that of the lowest validation
    loss, or of the last evaluation"""
    patience: int | None = Field(default=None, ge=1)
    """stop after so many evaluations without a better one, as `choose` says; null = never"""
    log_every: Count = 10
    """history row every so many steps"""
    max_skips: int = Field(default=3, ge=0)
    """consecutive steps with a non-finite loss or gradient that are skipped before the run stops"""


class Synthesis(Section):
    sentences: list[str] = []
    """sentences of your own spoken at every evaluation, beside the texts of `evaluate.small` validation clips"""
    speaking_rate: Positive = 1.0
    """speed of synthesized speech: 1.25 is a quarter faster"""

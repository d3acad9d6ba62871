"""Every parameter there is, by section; the docstring under a field states its meaning and unit."""

from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Source = Literal["espeak", "asterisk", "ljspeech", "common_voice", "custom", "hub"]


class Corpus(Section):
    source: Source = "espeak"
    """which reader: espeak (synthetic speech of the shipped sentences), asterisk (studio prompts: en fr es it ru),
    ljspeech (metadata.csv), common_voice (TSVs + clips), custom (audio + transcripts), hub (Hugging Face datasets)"""
    path: str | None = None
    """folder or file of the corpus on disk; `{lang}` in it is replaced by each language; none for espeak"""
    licence: str | None = None
    """licence of a corpus of your own, written into the manifest; readers of published corpora know theirs"""
    speaker: str | None = None
    """speaker name for corpora without a speaker column; null = the reader's own name for it"""
    hub_id: str | None = None
    """Hugging Face dataset id, e.g. google/fleurs (source: hub); `path` may name a local copy instead"""
    hub_config: str | None = None
    """configuration of the hub dataset, e.g. am_et"""
    hub_revision: str | None = None
    """git revision of the hub dataset (40 hex digits pin it)"""
    hub_split: str = "train"
    """split of the hub dataset"""
    text_column: str | None = None
    """column holding the transcript (hub, custom tables); null = the usual names are tried"""
    audio_column: str | None = None
    """column holding the audio (hub, custom tables); null = the usual names are tried"""
    min_up_votes: int = Field(default=0, ge=0)
    """Common Voice: drop clips with fewer up-votes (votes)"""
    max_down_votes: int = Field(default=1000, ge=0)
    """Common Voice: drop clips with more down-votes (votes)"""
    sentences: int | None = Field(default=None, ge=1)
    """espeak: how many of the shipped sentences to speak; null = all"""
    voices: list[str] = []
    """espeak: variants that act as speakers, e.g. [f2, m3]; empty = the language's plain voice"""
    words_per_minute: Annotated[int, Field(ge=80, le=450)] = 150
    """espeak: speaking rate (words per minute)"""
    minutes: Positive | None = None
    """train on so many minutes of trimmed speech of each language, clips chosen by `seed`; null = all (minutes)"""


class Doctor(Section):
    min_seconds: Seconds = 0.3
    """drop clips shorter than this after trimming (seconds)"""
    max_seconds: Positive = 20.0
    """drop clips longer than this after trimming (seconds)"""
    min_rms_db: float = -55.0
    """drop clips quieter than this as silent (dB relative to full scale)"""
    trim_db: Positive = 40.0
    """leading and trailing audio this far below the clip's loudest frame is trimmed (dB)"""
    keep_silence: Seconds = 0.05
    """silence left at each end after trimming (seconds)"""
    max_chars_per_second: Positive = 35.0
    """drop clips whose transcript cannot be spoken this fast (characters per second)"""
    rate_outlier: Positive = 3.5
    """characters per second this many robust deviations (MAD) from the median make a clip suspect"""
    clipped_share: Share = 0.001
    """share of samples at full scale above which a clip is suspect (0..1)"""
    dc_offset: Share = 0.01
    """absolute mean of the samples above which a clip is suspect (full scale = 1)"""
    unknown_characters: Literal["drop", "suspect"] = "drop"
    """what happens to a clip whose normalised text has characters outside the language's set"""
    val_share: Share = 0.04
    """share of each speaker's clips for validation (0..1)"""
    test_share: Share = 0.04
    """share of each speaker's clips for the test split, never seen in training (0..1)"""


class Text(Section):
    units: Literal["characters", "phonemes", "tokenizer"] = "characters"
    """what the model reads: characters of the normalised text, espeak-ng phonemes (needs the espeak extra), or the
    tokens of the file `text.tokenizer`"""
    tokenizer: str | None = None
    """tokenizer.json, .model (SentencePiece), vocab.json or vocab.txt, or a folder with one (units: tokenizer)"""
    homophones: bool = False
    """Amharic: fold letters that sound alike (ሐ ኀ → ሀ, ሠ → ሰ, ዐ → አ, ፀ → ጸ)"""


class Vocab(Section):
    base: str | None = None
    """tokenizer that is to learn the language: file, folder, hub id or <system>=<any of these>; null = notebook 01 trains
    a small English one"""
    candidates: list[str] = []
    """further tokenizers compared in the preflight, written like `base`"""
    kind: Literal["bpe", "sentencepiece-bpe", "sentencepiece-unigram", "characters"] = "bpe"
    """how a tokenizer is trained when `base` is null; a given base decides itself"""
    size: Count = 500
    """pieces learnt for the new language's own tokenizer; fewer when the corpus is small and `hard_limit` is off"""
    hard_limit: bool = False
    """SentencePiece: fail when `size` cannot be reached instead of taking what the corpus gives"""
    byte_fallback: bool = False
    """SentencePiece: spell unknown characters in bytes when a tokenizer is trained anew"""
    split_digits: bool = True
    """SentencePiece: every digit is a piece of its own"""
    tag: str | None = None
    """language tag added as one token, e.g. "[am]"; null = none"""
    unknown_letters: Share = 0.0
    """share of letters a tokenizer may read as unknown before preparation fails, naming them (0..1)"""


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


class Data(Section):
    frames: Count = 1800
    """frames budget of one micro-batch, padding included (mel frames)"""
    accumulate: Count = 1
    """micro-batches per optimizer step"""
    ram_gb: Positive = 2.0
    """features are held in RAM while they fit in this budget, else read from the cache on disk (GB)"""
    workers: int = Field(default=0, ge=0)
    """loader processes; 0 = load in the training process, best when features fit in RAM"""


class Acoustic(Section):
    preset: Literal["unit", "tiny", "base"] = "tiny"
    """network size: unit (tests), tiny (about 3.5 M parameters), base (about 25 M)"""
    rate: Count = 16000
    """waveform sample rate in and out (Hz)"""
    hop: Count = 256
    """hop between mel frames (samples)"""
    window: Count = 1024
    """STFT window and FFT length (samples)"""
    mels: Count = 80
    """mel bands"""
    dropout: Share = 0.15
    """dropout in encoder, duration predictor and decoder (0..1)"""
    griffin_lim: Count = 60
    """Griffin-Lim iterations when listening"""


class Vits(Section):
    preset: Literal["unit", "base"] = "base"
    """size of a new network: unit (tests), base (that of MMS-TTS, 36 M parameters); a loaded one keeps its own"""
    rate: Count = 16000
    """waveform sample rate of a new network (Hz); a loaded one keeps its own"""
    vocoder: str | None = None
    """voice that a new network takes its decoder, flow and posterior encoder from, its text side starting fresh: whatever
    `adapt.base` takes; null = all fresh"""
    segment: Annotated[int, Field(ge=4)] = 32
    """length of the segment that is spoken and judged (spectrogram frames of 256 samples); shorter clips are set aside"""
    discriminator: bool = True
    """adversarial and feature-matching terms; false halves the cost of a step: mel, kl and duration only"""
    discriminator_from: str | None = None
    """original VITS discriminator (D_*.pth) to begin with; null = fresh, or the one of `adapt.base` where it has one"""
    ramp: int = Field(default=500, ge=0)
    """steps over which a fresh discriminator's opinion comes to count in full; it learns all the while (steps)"""
    lr: dict[
        Literal[
            "text_encoder",
            "duration_predictor",
            "flow",
            "posterior_encoder",
            "decoder",
            "embed_speaker",
            "discriminator",
        ],
        Annotated[float, Field(ge=0)],
    ] = {}
    """learning rates by module as multiples of train.lr, e.g. {decoder: 0.1}; 0 = held, not named = 1"""
    mel: Positive = 45.0
    """weight of the mel term"""
    kl: Positive = 1.0
    """weight of the KL term"""
    duration: Positive = 1.0
    """weight of the duration term"""
    adversarial: Positive = 1.0
    """weight of the adversarial term"""
    feature_matching: Positive = 2.0
    """weight of the feature-matching term"""
    noise: Annotated[float, Field(ge=0)] = 0.667
    """standard deviation of the prior's noise in synthesis"""
    noise_duration: Annotated[float, Field(ge=0)] = 0.8
    """standard deviation of the duration noise in synthesis"""


class MelCodec(Section):
    """Our own codec: log-mels, a convolutional encoder, a bottleneck, a decoder, Griffin-Lim."""

    rate: Count = 16000
    """waveform sample rate in and out (Hz, a multiple of 100)"""
    mels: Count = 80
    """mel bands"""
    width: Count = 256
    """channels of encoder and decoder"""
    depth: Count = 6
    """residual blocks in each of them"""
    steps: Count = 3000
    """optimizer steps of its training"""
    minutes: Positive | None = None
    """time budget of its training (minutes); null = `steps`"""
    frames: Count = 800
    """frames budget of one batch of its training, padding included (mel frames of 10 ms)"""
    lr: Positive = 3.0e-3
    """peak learning rate of its training"""
    kl: Annotated[float, Field(ge=0)] = 1.0e-3
    """weight of the KL term of mel-vae (nats a latent frame)"""
    griffin_lim: Count = 60
    """Griffin-Lim iterations of its decoder"""


class T3(Section):
    preset: Literal["unit", "tiny", "small", "english", "multilingual"] = "tiny"
    """size of a new network: unit (tests), tiny (about 1 M parameters without its tables), small (7 M), english and
    multilingual (Chatterbox's 0.5 B); a loaded one keeps its own"""
    text_weight: Annotated[float, Field(ge=0)] = 0.1
    """weight of the text cross-entropy beside the speech one"""
    drop_text: Share = 0.1
    """share of the samples whose text is withheld in training, so that guidance has something to compare with (0..1)"""
    prompt: Count = 150
    """longest prompt, taken from another utterance of the speaker (codes; 150 are 6 s at 25 Hz)"""
    emotion: Annotated[float, Field(ge=0)] = 0.5
    """Chatterbox's exaggeration, in training and synthesis"""
    packing: bool = True
    """all samples of a micro-batch in one row, each attending to itself alone, without any padding; false = a row each"""
    checkpointing: bool = False
    """compute activations again in the backward pass: less memory, a third more time"""
    cfg: Annotated[float, Field(ge=0)] = 0.5
    """weight of classifier-free guidance in synthesis; 0 = none, half the cost"""
    temperature: Positive = 0.8
    """sampling temperature"""
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.2
    """penalty of codes already spoken (Chatterbox: 1.2, multilingual 2.0)"""
    min_p: Share = 0.05
    """codes less likely than this share of the likeliest are left out (0..1)"""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """share of the probability mass sampled from"""
    duplicate_bos: bool = False
    """feed the start code twice, as Chatterbox's own inference does and no training did"""
    longest: Count = 1000
    """codes after which speech is cut off as a runaway (codes)"""
    tries: Count = 3
    """attempts, each with another seed, at a sentence that runs away or repeats itself; the best is kept"""
    recycle: bool = False
    """export: new tokens take rows of scripts that stand in no training text, so that the size stays and the stock package
    loads them; those languages are lost"""


class IndexTTS(Section):
    preset: Literal["unit", "tiny", "small", "official"] = "tiny"
    """size of a new network: unit (tests), tiny (0.8 M parameters without its tables), small (5 M), official (0.5 B);
    a loaded one keeps its own"""
    text_weight: Annotated[float, Field(ge=0)] = 0.1
    """weight of the text cross-entropy"""
    mel_weight: Annotated[float, Field(ge=0)] = 1.0
    """weight of the cross-entropy of the speech codes"""
    dropout: Share = 0.1
    """GPT-2's dropout, of embeddings, attention and residuals (0..1)"""
    duration_control: bool = False
    """tell the network how many codes a clip has, so that `synthesis.speaking_rate` is its own; IndexTTS2's runtime tells
    it nothing, which it learns beside it"""
    drop_duration: Share = 0.3
    """share of the samples that are not told their duration in training (0..1)"""
    packing: bool = True
    """all samples of a micro-batch in one row, each attending to itself alone, without any padding; false = a row each"""
    checkpointing: bool = False
    """compute activations again in the backward pass: less memory, a third more time"""
    emotion: str | None = None
    """recording whose emotion is spoken, by its path; null = that of the voice (bases with IndexTTS2's encoders)"""
    emotion_weight: Annotated[float, Field(ge=0)] = 1.0
    """how far the emotion goes from the voice's own (0) to that of `emotion` (1)"""
    beams: Count = 3
    """beams searched in synthesis; 1 = plain sampling, a third of the cost"""
    temperature: Positive = 0.8
    """sampling temperature"""
    top_k: Count = 30
    """codes sampled from, the likeliest"""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.8
    """share of the probability mass sampled from"""
    repetition_penalty: Annotated[float, Field(ge=1)] = 10.0
    """penalty of codes already spoken (IndexTTS2's runtime: 10; 1 for codecs whose codes repeat, as ours do)"""
    length_penalty: float = 0.0
    """exponent of the length by which a beam's score is divided: above 0 longer ones win"""
    mel_pos_gap: bool = False
    """leave out position 1 of the codes, as IndexTTS2's own inference does and no training did"""
    longest: Count = 1500
    """codes after which speech is cut off as a runaway (codes)"""
    tries: Count = 3
    """attempts, each with another seed, at a sentence that runs away or repeats itself; the best is kept"""


class Pocket(Section):
    preset: Literal["unit", "tiny", "small", "6l", "24l"] = "tiny"
    """size of a new network: unit (tests), tiny (1 M parameters without its table), small (7 M), 6l and 24l (the published
    85 M and 312 M); a loaded one keeps its own"""
    draws: Count = 4
    """draws of noise and times that each frame's state is used for in a step"""
    diagonal: Annotated[float, Field(gt=0, le=1)] = 0.75
    """weight of flow matching; the rest is that of self-distillation (0..1)"""
    distill_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """share of the steps that compute self-distillation, its weight raised in turn (0..1)"""
    stop_gradient: Literal["minimal", "classic"] = "minimal"
    """the target of self-distillation: moves with its input (minimal), or a constant (classic)"""
    time_mean: float = 0.4
    """mean of the logit of the times drawn"""
    time_std: Positive = 1.0
    """standard deviation of the logit of the times drawn"""
    eos_weight: Annotated[float, Field(ge=0)] = 0.1
    """weight of the cross-entropy of the end of speech"""
    drop_voice: Share = 0.2
    """share of the samples whose voice is withheld in training, so that guidance has something to compare with (0..1)"""
    drop_text: Share = 0.2
    """share of the samples whose text is withheld in training (0..1)"""
    prompt: Count = 62
    """longest prompt, taken from another utterance of the speaker (frames; 62 are 5 s at 12.5 Hz)"""
    packing: bool = True
    """all samples of a micro-batch in one row, each attending to itself alone, without any padding; false = a row each"""
    tokens: Literal["merge", "refit"] = "merge"
    """a new language's tokenizer: grown from the base's, whose rows stay, or one of its own, whose rows all start anew"""
    temperature: Positive = 0.3
    """variance of the noise that speech starts from"""
    noise_clamp: Positive | None = None
    """noise beyond this is drawn again; null = none is"""
    steps: Count = 1
    """steps from noise to a latent in synthesis"""
    eos_threshold: float = -1.0
    """speech ends where the logit of its end is above this (released models: -4, small ones -1)"""
    frames_after_end: Annotated[int, Field(ge=0)] | None = 0
    """frames spoken beyond the end, which is where training ended a clip; null = as Pocket's runtime guesses (3 or 5)"""
    guidance: Annotated[float, Field(ge=1)] = 1.0
    """how far states are moved away from those without voice and text; 1 = not at all, half the cost (24 layers: 2)"""
    most_tokens: Count = 50
    """longer texts are spoken in pieces of so many tokens, cut at their punctuation (four times as many characters)"""
    teacher: str | None = None
    """depth distillation: the model whose states this one learns, a run or published checkpoint; it starts from the
    teacher's `layers`, and its heads are the teacher's"""
    layers: list[int] = [0, 1, 2, 21, 22, 23]
    """the teacher's layers that a student starts from"""
    teacher_guidance: Annotated[float, Field(ge=1)] = 2.0
    """guidance of the teacher's states, learnt along"""


class Train(Section):
    steps: Count = 2000
    """optimizer steps when `minutes` is null"""
    lr: Positive = 1.0e-3
    """peak learning rate"""
    warmup: int = Field(default=100, ge=0)
    """linear warm-up (steps); the rate then falls on a cosine"""
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
    choose: Literal["validation", "last"] = "validation"
    """which checkpoint is `best`, heard and exported: that of the lowest validation loss, or of the last evaluation (a few
    clips learnt by heart: what others say is foretold worse from the first step on)"""
    patience: int | None = Field(default=None, ge=1)
    """stop after so many evaluations without a better validation loss; null = never"""
    log_every: Count = 10
    """history row every so many steps"""
    max_skips: int = Field(default=3, ge=0)
    """consecutive steps with a non-finite loss or gradient that are skipped before the run stops"""


class Synthesis(Section):
    sentences: list[str] = []
    """fixed sentences spoken at every evaluation; empty = the first three of the test split"""
    speaking_rate: Positive = 1.0
    """speed of synthesized speech: 1.25 is a quarter faster"""


class Params(Section):
    lang: Annotated[str, Field(min_length=2)] = "am"
    """language: the name of a file in params/, used for its normaliser, its voice and its outputs (ISO 639 code)"""
    languages: list[str] = []
    """languages read from the corpus when there is more than one (ISO 639 codes); empty = only `lang`"""
    system: Literal["acoustic", "vits", "t3", "indextts", "pocket"] = "acoustic"
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
    seed: int = Field(default=1, ge=0)
    """seed of initial weights, data order, dropout and synthesis"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to train; auto = cuda, else mps, else cpu"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """arithmetic of the training step; auto = bf16 on a GPU that has it, else fp32"""
    threads: Count | None = None
    """CPU threads; null = all cores this process may use"""
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
    train: Train = Train()
    """optimisation"""
    synthesis: Synthesis = Synthesis()
    """what is spoken while listening"""

    @property
    def langs(self) -> list[str]:
        return self.languages or [self.lang]

    def __str__(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

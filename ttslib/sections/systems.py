"""One section for each system, and one for the codec of our own."""

from typing import Annotated, Literal

from pydantic import Field

from ttslib.sections.base import Count, Positive, Section, Share


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


class Style(Section):
    preset: Literal["unit", "fast", "full"] = "full"
    """size of a new network: unit (tests), fast (2 M parameters), full (8 M); a loaded one keeps its own"""
    model: str | None = None
    """model whose styles the pairs have, where these do not say so themselves ("supertonic-3"); others are refused"""
    rate: Count = 16000
    """sample rate at which recordings are heard (Hz)"""
    lambda_ttl: Annotated[float, Field(ge=0)] = 256.0
    """weight of the mean squared error of style_ttl (its differences are about 0.0005)"""
    lambda_dp: Annotated[float, Field(ge=0)] = 16.0
    """weight of the mean squared error of style_dp"""
    lambda_cosine: Annotated[float, Field(ge=0)] = 1.0
    """weight of 1 - cosine"""
    cosine: Literal["centred", "raw"] = "centred"
    """of what: the deviations from the mean style, or the styles, of which all are almost parallel"""
    shortest: Positive = 2.0
    """training hears a random part of each recording, at least so long (seconds)"""
    longest: Positive = 10.0
    """and at most so long; what is longer is heard in parts, their styles averaged (seconds)"""
    dropout: Share = 0.1
    """dropout in the blocks (0..1)"""
    checkpointing: bool = False
    """compute activations again in the backward pass: less memory, a third more time"""
    augment: Annotated[float, Field(ge=0, le=1)] = 0.5
    """share of the recordings that each of the following but `gain` is done to in training (0..1)"""
    noise: tuple[float, float] | None = Field(default=(5.0, 30.0), strict=False)
    """noise at a signal-to-noise ratio from this range (dB); null = none"""
    noises: str | None = None
    """folder of noise recordings, read into memory; null = white to brown noise"""
    room: tuple[float, float] | None = Field(default=(0.1, 0.6), strict=False)
    """reverberation of a room whose sound falls by 60 dB in a time from this range (seconds); null = none"""
    gain: Annotated[float, Field(ge=0)] = 6.0
    """louder or softer than the usual level by up to this (dB)"""
    band: Positive | None = 3400.0
    """nothing above this, as on a telephone (Hz); null = all is heard"""
    mp3: tuple[int, int] | None = Field(default=None, strict=False)
    """compressed by MP3 at a bit rate from this range (kbit/s): slow; null = not"""
    mask_time: Annotated[int, Field(ge=0)] = 12
    """SpecAugment: longest of two stretches of time that are blanked (frames of 12.5 ms)"""
    mask_bands: Annotated[int, Field(ge=0)] = 10
    """SpecAugment: widest of two stretches of mel bands that are blanked"""
    runtime: str | None = None
    """folder of Supertonic's own files, with which training and notebooks let new voices speak; null = they are not heard"""


class Pairs(Section):
    runtime: Literal["parametric", "supertonic", "supertonic-2", "supertonic-3"] = "parametric"
    """what speaks: synthetic voices whose style is known exactly, or Supertonic, of one model version"""
    folder: str | None = None
    """folder of Supertonic's files; null = as its package finds or downloads them"""
    voices: Count = 80
    """voices beside Supertonic's presets, each a mixture of some; or how many parametric voices there are"""
    texts: Count = 8
    """texts that every voice speaks"""
    lang: str = "en"
    """language of the texts, those that are shipped (ISO 639 code)"""
    text_file: str | None = None
    """texts of your own instead, one a line"""
    seed: int = Field(default=0, ge=0)
    """seed of mixtures, texts and noise"""
    workers: Count = 1
    """processes that speak"""

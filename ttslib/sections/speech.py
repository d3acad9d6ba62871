"""Sections about speech and text: where it comes from, what is kept of it, how it is read."""

from typing import Annotated, Literal

from pydantic import Field

from ttslib.sections.base import Count, Positive, Seconds, Section, Share

Source = Literal["espeak", "asterisk", "ljspeech", "common_voice", "custom", "hub", "style_npz"]


class Corpus(Section):
    source: Source = "espeak"
    """which reader: espeak (synthetic speech of the shipped sentences), asterisk (studio prompts: en fr es it ru),
    ljspeech (metadata.csv), common_voice (TSVs + clips), custom (audio + transcripts), hub (Hugging Face datasets),
    style_npz (speech beside the voice style it was spoken with; made as `pairs` says where `path` is null)"""
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
    splits: Literal["folders", "voices"] = "folders"
    """style_npz: train, val and test as their folders have them, refused where a voice is in two; or anew, by voice"""


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
    transcripts: Literal["judge", "ignore"] = "judge"
    """whether a transcript can make a clip be dropped or suspect; ignore for systems that do not read"""
    unknown_characters: Literal["drop", "suspect"] = "drop"
    """what happens to a clip whose normalised text has characters outside the language's set"""
    val_share: Share = 0.04
    """share of each speaker's clips for validation (0..1)"""
    test_share: Share = 0.04
    """share of each speaker's clips for the test split, never seen in training (0..1)"""

    @property
    def judges_texts(self) -> bool:
        return self.transcripts == "judge"


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


class Data(Section):
    frames: Count = 1800
    """frames budget of one micro-batch, padding included (mel frames)"""
    accumulate: Count = 1
    """micro-batches per optimizer step"""
    ram_gb: Positive = 2.0
    """features are held in RAM while they fit in this budget, else read from the cache on disk (GB)"""
    shards: str | None = None
    """folder or URL of shards to train from, as `ttslib shard` wrote them (s3://bucket/folder); null = a file a clip"""
    window: Count = 8
    """shards whose clips are shuffled together in RAM, and as many again are read ahead, all within `ram_gb`"""
    shard_mb: Positive = 64.0
    """size of the shards that are written (MB)"""
    workers: int = Field(default=0, ge=0)
    """loader processes; 0 = load in the training process (on a GPU in a thread), best when features fit in RAM"""

"""Shapes of VITS: the published one (MMS-TTS), and a very small one for tests. A loaded model brings its own config."""

from transformers import VitsConfig

# `config`: what differs from Transformers' VitsConfig, whose defaults are facebook/mms-tts-eng.
PRESETS = {
    "unit": {
        "config": {
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64, "flow_size": 16,
            "upsample_initial_channel": 32, "resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1, 3),),
            "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 2,
            "posterior_encoder_num_wavenet_layers": 2, "duration_predictor_num_flows": 2,
            "duration_predictor_filter_channels": 32,
        },
        "speaker": 16, "discriminator": 1 / 32,
    },
    "base": {"config": {}, "speaker": 256, "discriminator": 1.0},
}  # fmt: skip


def like(lender: VitsConfig, vocabulary: int, speakers: int) -> VitsConfig:
    """The config of a model that sounds as `lender` does and has so many rows of text and speakers."""
    made = VitsConfig.from_dict(lender.to_dict())
    made.vocab_size, made.num_speakers = vocabulary, speakers
    made.speaker_embedding_size = (lender.speaker_embedding_size or PRESETS["base"]["speaker"]) if speakers > 1 else 0
    return made


def config(preset: str, rate: int, vocabulary: int, speakers: int) -> VitsConfig:
    """The config of a new model for so many rows of text and speakers, at `rate` Hz."""
    size = PRESETS[preset]
    voices = {"num_speakers": speakers, "speaker_embedding_size": size["speaker"]} if speakers > 1 else {}
    return VitsConfig(vocab_size=vocabulary, sampling_rate=rate, layerdrop=0.0, **size["config"], **voices)

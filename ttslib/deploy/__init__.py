"""A trained voice to take away: smaller weights, judged before they are believed, and ONNX.

`weights` stores matrices in 16 or 8 bits and gives them back as fp32, `trial` speaks the run's sentences with them and has
them read back, `writing` puts the folder together; `graphs` are the networks as ONNX can hold them, `onnx_folder` writes
and checks them. docs/deployment.md says what each form is good for.
"""


class DeployError(ValueError):
    """A form that this system does not have, or a voice that did not pass; the message says what to do."""

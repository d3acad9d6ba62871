"""Give a text-to-speech system a new language: prepare, train, listen, export."""

import os

# Spinning OpenMP threads make two busy cores 3-20 times slower when they are shared; set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Asking whether there is a GPU must not keep processes that are forked later from using it (ttslib.together).
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

"""Hugging Face checkpoints in and out: config.json and model.safetensors, never pickle."""

from tfmodels.interop.hf import from_hf, hf_config, to_hf

__all__ = ["from_hf", "hf_config", "to_hf"]

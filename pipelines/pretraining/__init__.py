"""The TFX pipeline that turns raw documents into a pre-trained encoder."""

"""Thin runner files, as the TFX command line and plain Python call them."""

"""Side-by-side measurements. Each times two things in turn in one run and prints the ratio beside its target."""

import os
import warnings

# TensorFlow's start-up notes and warnings about other packages' plans would drown the tables.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As the commands have it: see `tfmodels.cli`.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
warnings.filterwarnings("ignore", category=FutureWarning)

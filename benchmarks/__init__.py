"""Side-by-side measurements. Each times two things in turn in one run and prints the ratio beside its target."""

import os
import warnings

# TensorFlow's start-up notes and warnings about other packages' plans would drown the tables.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore", category=FutureWarning)

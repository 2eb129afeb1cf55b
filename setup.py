"""Package metadata. The library installs alone; extras add TFX, serving and development tools."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

LIBRARY = [
    "keras>=3.12",
    "keras-nlp>=0.25",
    "numpy",
    "safetensors>=0.4",
    # Trains unigram vocabularies; TensorFlow Text runs them.
    "sentencepiece>=0.2",
    "tensorboard",
    "tensorflow>=2.16.2",
    "tensorflow-text>=2.16",
    # The command line, and the plots of reports and of TensorBoard.
    "click>=8",
    "matplotlib>=3.7",
    "rich>=13",
]
SERVING = ["tensorflow-serving-api>=2.16", "grpcio"]
TFX = [
    *SERVING,
    "tfx>=1.16,<1.22",
    # Newer Beam has no dill, which tfx-bsl 1.16 imports.
    "apache-beam[gcp]>=2.53,<2.66; python_version < '3.11'",
    "dill; python_version < '3.11'",
    # TFX reads pkg_resources, which newer setuptools lacks, and installs user modules with pip.
    "setuptools<81",
    "pip",
    "wheel",
    "pandas",
    "pyarrow",
    "scikit-learn",
]
KUBEFLOW = [*TFX, "kfp>=2"]
DEV = [
    "hypothesis",
    "psutil",
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "ruff==0.14.6",
    "scikit-learn",
    "scipy",
    "tokenizers>=0.15",
]

setup(
    name="tfmodels",
    version="0.1.0",
    description=(
        "Keras 3 layers and models of NLP and deep learning: pre-train, fine-tune, distil, run through TFX, "
        "serve with TensorFlow Serving."
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["tfmodels", "tfmodels.*", "pipelines", "pipelines.*", "serving", "serving.*"]),
    package_data={"": ["*.css", "*.html", "*.json", "*.txt"]},
    install_requires=LIBRARY,
    extras_require={
        "serving": SERVING,
        "tfx": TFX,
        "kubeflow": KUBEFLOW,
        "jax": ["jax", "jaxlib"],
        "dev": DEV,
    },
    entry_points={"console_scripts": ["tfmodels=tfmodels.cli:main"]},
)

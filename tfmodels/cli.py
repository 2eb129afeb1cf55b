"""The command line: `tfmodels COMMAND`. Each command's code loads only when the command is called."""

import os
import warnings
from importlib import import_module

import click

from tfmodels import __version__
from tfmodels.errors import UserError

# TensorFlow's start-up notes and warnings about other packages' plans say nothing to a user of commands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN's kernels out on x86 processors without AVX-512, where they are faster all the same.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
warnings.filterwarnings("ignore", category=FutureWarning)

# name -> (module:attribute of the click command, one line of help)
_COMMANDS = {
    "list": ("tfmodels.commands:list_command", "List the registered models."),
    "describe": ("tfmodels.commands:describe_command", "Describe a registered model."),
    "attention-guide": ("tfmodels.commands:attention_guide_command", "Compare the kinds of attention, to choose one."),
    "catalogue": ("tfmodels.commands:catalogue_command", "Show the survey's systems with their code and evidence."),
    "convert": ("tfmodels.commands:convert_command", "Convert between Hugging Face and Keras checkpoints."),
    "doctor": ("tfmodels.commands:doctor_command", "Check this machine and environment."),
    "run": ("pipelines.commands:run_command", "Run a pipeline on a table of your own."),
    "compare": ("pipelines.commands:compare_command", "Compare the models of finished runs."),
    "check-export": ("serving.commands:check_export_command", "Run an export through TensorFlow Serving's C++ loader."),
    "serve": ("serving.commands:serve_command", "Serve exported models on this machine over gRPC and REST."),
    "predict": ("serving.commands:predict_command", "Send texts to a served model."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and whose errors are one sentence."""

    def list_commands(self, ctx):
        return list(_COMMANDS)

    def get_command(self, ctx, name):
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name][0].split(":")
        return getattr(import_module(module), attribute)

    def format_commands(self, ctx, formatter):
        # The help lines stand here so that `--help` imports no command.
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tfmodels")
def main():
    """Keras 3 models of NLP: list them, run pipelines on your own text, check and serve the exports."""


# A user's mistake exits with 2, as a wrong option does.
click.ClickException.exit_code = 2

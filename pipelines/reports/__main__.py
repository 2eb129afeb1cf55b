"""Writes the report of saved results again: `python -m pipelines.reports RESULTS_DIRECTORY REPORT.html`."""

import click

from pipelines.reports import RunResults, write_report
from tfmodels.errors import UserError


@click.command(help=__doc__.partition(":")[0])
@click.argument("results", type=click.Path())
@click.argument("report", type=click.Path(dir_okay=False))
def main(results, report):
    """Loads, writes, and tells where."""
    try:
        click.echo(write_report(RunResults.load(results), report))
    except UserError as error:
        failure = click.ClickException(str(error))
        failure.exit_code = 2
        raise failure from error


if __name__ == "__main__":
    main()

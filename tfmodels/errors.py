"""The one exception for mistakes that a user can mend, and a hint for misspelt names."""

import difflib


class UserError(ValueError):
    """A mistake of the user's, told in one sentence that says what to do.

    The command line prints the sentence without a traceback and exits with status 2.
    """


def nearest(name, names) -> str:
    """A hint that names the closest valid name, for the end of an error's sentence."""
    names = sorted(names)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(names)}."

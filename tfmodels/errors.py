"""The one exception for mistakes that a user can mend."""


class UserError(ValueError):
    """A mistake of the user's, told in one sentence that says what to do.

    The command line prints the sentence without a traceback and exits with status 2.
    """

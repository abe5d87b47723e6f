"""The one exception for what a user can mend."""


class MixoptError(Exception):
    """What is wrong, where (file, key, row, column), and the way out, in one line.

    The command line prints the message without a traceback and exits with code 2.
    """

"""The one exception whose text is written for the person at the keyboard."""


class UserError(Exception):
    """A mistake in data, configuration or environment: what is wrong, what was expected, what to do.

    Runners print its text and nothing else; any other exception is a defect and shows a traceback.
    """

"""The one exception whose text is written for the person at the keyboard."""


class UserError(Exception):
    """A mistake in data, configuration or environment, told to whoever can mend it.

    The text says what is wrong, what was expected and what to do. Runners print it and nothing
    else; any other exception is a defect and shows a traceback.
    """

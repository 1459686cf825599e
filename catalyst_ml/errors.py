"""Errors sorted by the reaction they want.

Retry conditions, skips and alerts look at the class, never at the text. Every message says who,
what was expected, what came, and what to do. A refused promotion is a result, not an error.
"""


class CatalystError(Exception):
    """Base of everything this project raises on purpose; the command line prints it without a traceback."""


class SourceUnavailable(CatalystError):
    """A database, store or service did not answer. Reaction: retry with backoff."""


class InsufficientHistory(CatalystError):
    """Too little history to compute or train. Reaction: skip the symbol, or import more, and say so."""


class DataContractError(CatalystError):
    """Data breaks its contract. Reaction: stop, do not retry, mend the data."""


class DeviceUnavailable(CatalystError):
    """The accelerator is missing or failed. Reaction: continue on the CPU, visibly."""


class ConfigurationError(CatalystError):
    """A setting or parameter is missing or contradicts another. Reaction: stop, mend the setting."""


class ArtifactRefused(CatalystError):
    """A stored artifact does not match its manifest or breaks a rule. Reaction: never load it, keep the last good."""


class UnknownVersion(CatalystError):
    """A model version, channel or dataset that the registry does not know. Reaction: list what exists."""


class RequestRefused(CatalystError):
    """A request to the server breaks its contract. Reaction: answer 4xx naming the field, never 500."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.field, self.expected, self.got = field, expected, got

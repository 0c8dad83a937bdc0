"""What goes wrong, by name.

Every error that a user can cause is a `CapsnpError` with a message of one line that names the
argument, what was expected and what came. Each is also the built-in exception that fits, so that
``except ValueError`` works as in NumPy.
"""


class CapsnpError(Exception):
    """Base of every error that the package raises on purpose."""


class ShapeError(CapsnpError, ValueError):
    """An array has the wrong number of axes or the wrong length along one."""


class DtypeError(CapsnpError, TypeError):
    """An array has a dtype that the mathematics is not defined for, or two arrays disagree."""


class OptionError(CapsnpError, ValueError):
    """An option has a value outside its range or its list."""


class DomainError(CapsnpError, ValueError):
    """A number lies outside the domain of a function, such as `unsquash` at length one."""


class BackendError(CapsnpError, RuntimeError):
    """An array library is unknown, not installed or has no device."""


class MixedBackendError(CapsnpError, TypeError):
    """Arrays of two libraries meet in one call."""


class NotFittedError(CapsnpError, ValueError, AttributeError):
    """A model is used before `fit`."""


class DataError(CapsnpError, ValueError):
    """A data file is missing, truncated, of the wrong kind or corrupt."""


class RunError(CapsnpError, RuntimeError):
    """A run folder is locked, incomplete, unwritable or holds other settings."""


class CheckpointError(RunError):
    """A checkpoint is cut short, corrupt or of another model."""


class DivergenceError(CapsnpError, ArithmeticError):
    """Training made a number that is not finite or has run away."""


class MemoryLimitError(CapsnpError, MemoryError):
    """A run would need more memory than there is; raised before it starts."""


class WideBracketError(CapsnpError, ArithmeticError):
    """A number is known between two ends only, which are too far apart."""


class IncomparableError(CapsnpError, ValueError):
    """Two numbers are of different things."""


class InvariantError(CapsnpError, AssertionError):
    """A function breaks an invariant; the lines after the first show a small case of it."""

"""Every exception that inkle raises on purpose.

InkleError
├── ShapeError        shapes, axes or sizes do not fit together          (ValueError)
├── DTypeError        an operation got element types it does not accept  (TypeError)
├── OptionError       a number or choice lies outside what is allowed     (ValueError)
├── IndexRangeError   an index lies outside its axis                     (IndexError)
├── GradientError     a gradient was asked for that does not exist       (RuntimeError)
├── MutationError     a write through a view that is no longer current   (RuntimeError)
├── TraceError        a captured function did what capture cannot keep   (RuntimeError)
├── DeviceError       a device is unavailable or failed                  (RuntimeError)
│   └── CompileError  a kernel did not compile                           (RuntimeError)
├── MemoryFailure     an allocation did not fit                          (MemoryError)
├── FormatError       a file is corrupt or of another format             (ValueError)
├── DataError         data could not be found or fetched                 (OSError)
└── InternalError     inkle itself is wrong: please report it            (RuntimeError)
    ├── SpecError     a graph broke the rules of its form
    ├── RewriteError  a rewrite rule broke an invariant or did not end
    └── RenderError   a target cannot express an operation
"""

from __future__ import annotations


class InkleError(Exception):
    """Base class: catch this to catch everything inkle raises on purpose."""


class ShapeError(InkleError, ValueError):
    """Shapes, axes or sizes do not fit together."""


class DTypeError(InkleError, TypeError):
    """An operation got element types it does not accept."""


class OptionError(InkleError, ValueError):
    """A number or choice lies outside what is allowed, such as a negative learning rate."""


class IndexRangeError(InkleError, IndexError):
    """An index lies outside its axis."""


class GradientError(InkleError, RuntimeError):
    """A gradient was asked for that does not exist."""


class MutationError(InkleError, RuntimeError):
    """A write through a view whose base has changed since the view was taken."""


class TraceError(InkleError, RuntimeError):
    """A captured function did something that a capture cannot keep."""


class DeviceError(InkleError, RuntimeError):
    """A device is unavailable or failed."""


class CompileError(DeviceError):
    """A kernel did not compile."""


class MemoryFailure(InkleError, MemoryError):
    """An allocation did not fit."""


class FormatError(InkleError, ValueError):
    """A file is corrupt or of another format than expected."""


class StateError(InkleError, ValueError):
    """Tensors by name do not fit the object that they are loaded into."""


class DataError(InkleError, OSError):
    """Data could not be found or fetched."""


class InternalError(InkleError, RuntimeError):
    """inkle itself is wrong; the message says which pass and how to reproduce it."""


class SpecError(InternalError):
    """A graph broke the rules of its form."""


class RewriteError(InternalError):
    """A rewrite rule broke an invariant, or the rules did not come to an end."""


class RenderError(InternalError):
    """A target cannot express an operation."""

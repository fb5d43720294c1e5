"""The one place that loads llvmlite, LLVM's binding for Python, and only when it is needed.

llvmlite's wheel carries LLVM with every target, so neither a compiler nor LLVM need be installed.
Importing it takes 40-60 ms; `import inkle` must not pay for that.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from inkle.errors import DeviceError


@functools.cache
def llvm() -> ModuleType:
    """Load llvmlite and prepare LLVM for this machine.

    Raises:
        DeviceError: if llvmlite is missing or cannot be loaded.
    """
    try:
        library = importlib.import_module("llvmlite.binding")
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"device CPU needs llvmlite, which cannot be loaded ({error}); "
            "install it with: python -m pip install llvmlite"
        ) from error
    library.initialize_native_target()
    library.initialize_native_asmprinter()
    library.initialize_native_asmparser()  # without it, LLVM aborts at the first inline assembly
    return library


@functools.cache
def llvm_for_all_targets() -> ModuleType:
    """Load llvmlite and prepare LLVM for every target it was built with."""
    library = llvm()
    library.initialize_all_targets()
    library.initialize_all_asmprinters()
    return library


def version() -> str:
    """Return the version of LLVM, for example `22.1.0`."""
    return ".".join(str(part) for part in llvm().llvm_version_info)


def host_triple() -> str:
    """Return what this process runs on, for example `x86_64-unknown-linux-gnu`."""
    return str(llvm().get_process_triple())


def host_cpu() -> tuple[str, str]:
    """Return LLVM's name of this processor, and its features as `+avx2,-sse4a,...`."""
    library = llvm()
    try:
        features = library.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on some systems: then what the name implies holds
        features = ""
    return str(library.get_host_cpu_name()), str(features)

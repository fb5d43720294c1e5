"""Write docs/api.md: every public name with its arguments and the first line of its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import inkle
from inkle import Tensor, config, errors, nn, testing

INTRODUCTION = """\
# Names

Every public name, with the first sentence of its documentation; `help(inkle.Tensor.softmax)` shows
the rest. The page is written from the code, by `pytest tests/docs --update-cases`.
"""
OPERATORS = """\
Tensors have Python's operators, too: `+ - * / // % ** @`, `& | ^ ~ << >>`, `== != < <= > >=`,
`x[...]` to read and `x[...] = value` to assign. With one element they convert to a Python number.
"""


MODULES = (nn, nn.optim, nn.optim.lr_scheduler, nn.utils, nn.state, nn.datasets, testing)
SLOTS = {"grad": "The gradient that `backward()` has accumulated, or None."}


class Default:
    """The default of a parameter, shown by name where it is a function."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    @classmethod
    def of(cls, parameter: inspect.Parameter) -> Any:
        """Return what to show."""
        default = parameter.default
        return cls(default.__name__) if inspect.isroutine(default) else default


def page() -> str:
    """Return the text of docs/api.md."""
    names = {name: getattr(inkle, name) for name in inkle.__all__}
    parts = [INTRODUCTION, "## inkle\n", table(names, "inkle."), "## Tensor\n", OPERATORS]
    for title, members in tensor_members():
        parts += [f"### {title}\n", table(members, "")]
    for module in MODULES:
        title = module.__name__.removeprefix("inkle.")
        parts += [f"## {title}\n", first_line(module) + "\n", table(own_names(module), f"{title}.")]
    parts += ["## Errors\n", "All are in `inkle.errors`.\n", table(error_classes(), "")]
    parts += ["## Settings\n", first_line(config) + "\n", settings()]
    return "\n".join(parts)


def tensor_members() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each part of the class Tensor its title and its public members."""
    for owner in reversed(Tensor.__mro__):
        members = {
            name: inspect.getattr_static(Tensor, name)
            for name in vars(owner)
            if not name.startswith("_") and name not in later_names(owner)
        }
        if members:
            title = first_line(inspect.getmodule(owner)).rstrip(".").partition(": ")[0]
            yield title.partition(". ")[0], members


def later_names(owner: type) -> set[str]:
    """Return the names that classes before `owner` in the order of resolution define."""
    order = Tensor.__mro__
    return {name for each in order[: order.index(owner)] for name in vars(each)}


def own_names(module: ModuleType) -> dict[str, Any]:
    """Return the public functions and classes of a module of `inkle.nn`, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and (
            name in getattr(module, "__all__", ())
            or value.__module__ == module.__name__
            or module is nn
        )
    }


def error_classes() -> dict[str, Any]:
    """Return every exception that inkle raises, bases first."""
    return {name: value for name, value in vars(errors).items() if inspect.isclass(value)}


def table(names: dict[str, Any], prefix: str) -> str:
    """Return a table of names."""
    rows = [
        f"| `{prefix}{name}{arguments(value)}` | {description(name, value)} |"
        for name, value in names.items()
    ]
    return "\n".join(["| name | what it is |", "|---|---|", *rows, ""])


def settings() -> str:
    """Return the table of environment variables."""
    rows = [f"| `{name}` | {row.default!r} | {row.text} |" for name, row in config.SETTINGS.items()]
    return "\n".join(["| variable | default | what it does |", "|---|---|---|", *rows, ""])


def description(name: str, value: Any) -> str:
    """Return what to say about a name."""
    return SLOTS[name] if inspect.ismemberdescriptor(value) else first_line(value)


def arguments(value: Any) -> str:
    """Return the parameters of a function or class, without types; "" for anything else."""
    if isinstance(value, (staticmethod, classmethod)):
        return arguments(value.__func__)
    is_exception = inspect.isclass(value) and issubclass(value, Exception)
    if is_exception or not (inspect.isfunction(value) or inspect.isclass(value)):
        return ""
    try:
        signature = inspect.signature(value)
    except ValueError:
        return ""
    shown = [
        each.replace(annotation=inspect.Parameter.empty, default=Default.of(each))
        for name, each in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    return str(signature.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def first_line(value: Any) -> str:
    """Return the first sentence of the documentation of `value`, in one line."""
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", r"\|")


def undocumented() -> list[str]:
    """Return the public names that have no documentation."""
    found = [name for name in inkle.__all__ if not inspect.getdoc(getattr(inkle, name))]
    for _, members in tensor_members():
        found += [
            f"Tensor.{name}" for name, value in members.items() if not description(name, value)
        ]
    for module in MODULES:
        found += [name for name, value in own_names(module).items() if not description(name, value)]
    return found

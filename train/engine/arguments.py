"""Command-line arguments of every program: dataclasses, a YAML file, and flags that override the file.

A program declares one dataclass per concern with `argument(...)` fields and calls `parse_arguments`. Everything a user
can get wrong (an unknown flag, an unknown key, a number out of range) ends in one line that names the nearest valid
choice. Nothing here imports torch, so `--help` answers at once.
"""

import dataclasses
import difflib
import os
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


class ProgramHelp(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of a program's docstring and adds every argument's default."""


class LimitedHelp(str):
    """Help text that carries its argument's range (HfArgumentParser hands every other metadata key to argparse)."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None


def argument(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
) -> Any:
    """A dataclass field with help text and an optional allowed range.

    Args:
        default: the default value; without one the argument is required. A list is copied for every instance.
        help: one sentence for `--help`.
        minimum, maximum: the smallest and the largest allowed value.
        above: a value that must be exceeded (for numbers that must be positive).
    """
    text = LimitedHelp(help)
    text.minimum, text.maximum, text.above = minimum, maximum, above
    metadata = {"help": text}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse_arguments(*dataclass_types: type, description: str | None = None, argv: list[str] | None = None) -> tuple:
    """Read flags and an optional `--config FILE.yaml` into one instance of each dataclass.

    Args:
        dataclass_types: the program's dataclasses; their field names are the flags and the keys of the file.
        description: text above the flags in `--help`, usually the program's docstring.
        argv: arguments without the program's name; None reads them from the command line.

    Returns:
        One instance per dataclass, in the given order.

    Raises:
        SystemExit: after printing one line about what is wrong (exit status 2).
    """
    from transformers import HfArgumentParser

    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(dataclass_types, description=description, allow_abbrev=False, formatter_class=ProgramHelp)
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these arguments; flags override it")
    known = [flag for action in parser._actions for flag in action.option_strings]
    for text in argv:
        flag = text.split("=")[0]
        if flag.startswith("--") and flag not in known:
            parser.error(f"unknown flag {flag}{nearest(flag, known)}")
    config_file = _config_file(argv, parser)
    if config_file:
        _apply_config(parser, config_file)
    try:
        *instances, _namespace = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:  # from a dataclass's own check of how its fields fit together
        parser.error(str(error))
    for instance in instances:
        problem = out_of_range(instance)
        if problem:
            parser.error(problem)
    return tuple(instances)


def run_program(main: Callable[[], None]) -> None:
    """Run a program's `main`: what a user can mend ends in one line that says how, everything else in a traceback.

    With LOOKBOOK_TRACEBACK=1 in the environment every error shows its traceback.
    """
    try:
        main()
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("LOOKBOOK_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")


def out_of_range(instance: Any) -> str | None:
    """The first field whose value is outside the range that `argument` gave it, as a sentence; None when all fit."""
    for field in dataclasses.fields(instance):
        value, limits = getattr(instance, field.name), field.metadata.get("help")
        if not isinstance(limits, LimitedHelp):
            continue
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if number != number:
                return f"--{field.name} {number}: not a number"
            if limits.minimum is not None and number < limits.minimum:
                return f"--{field.name} {number}: must be at least {limits.minimum}"
            if limits.maximum is not None and number > limits.maximum:
                return f"--{field.name} {number}: must be at most {limits.maximum}"
            if limits.above is not None and number <= limits.above:
                return f"--{field.name} {number}: must be greater than {limits.above}"
    return None


def nearest(name: str, choices: list[str]) -> str:
    """`; did you mean X?` for the closest of the choices, or nothing when none is close."""
    match = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f"; did you mean {match[0]}?" if match else ""


def _config_file(argv: list[str], parser: ArgumentParser) -> Path | None:
    finder = ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    name = finder.parse_known_args(argv)[0].config
    if name is None:
        return None
    if not Path(name).is_file():
        parser.error(f"--config {name}: no such file")
    return Path(name)


def _apply_config(parser: ArgumentParser, path: Path) -> None:
    """Make the file's values the parser's defaults, each converted by its argument's type (YAML reads 1e-5 as text)."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        parser.error(f"{path}: not valid YAML: {problem}")
    if not isinstance(values, dict):
        parser.error(f"{path}: expected `name: value` lines, found a {type(values).__name__}")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    for key, value in values.items():
        action = actions.get(str(key).replace("-", "_"))
        if action is None:
            parser.error(f"{path}: unknown key {key!r}{nearest(str(key), list(actions))}")
        try:
            action.default = _convert(value, action)
        except (ValueError, TypeError) as error:
            parser.error(f"{path}: {key}: {value!r}: {error}")
        action.required = False


def _convert(value: Any, action: Any) -> Any:
    if value is None:
        return None
    if isinstance(action.default, bool):
        if not isinstance(value, bool):
            raise ValueError("expected true or false")
        return value
    many = action.nargs in ("+", "*")
    if many != isinstance(value, list):
        raise ValueError("expected a list" if many else "expected one value, found a list")
    convert = action.type or str
    converted = [convert(str(v) if not isinstance(v, bool) else str(v).lower()) for v in (value if many else [value])]
    for v in converted:
        if action.choices is not None and v not in action.choices:
            raise ValueError(f"not one of {list(action.choices)}")
    return converted if many else converted[0]

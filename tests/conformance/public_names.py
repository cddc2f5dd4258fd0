"""Lists the public names of the package with their signatures, as `public_api.txt` holds them."""

import dataclasses
import functools
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any, ForwardRef

import tfrs_twotower as tt

PACKAGE = "tfrs_twotower"


def namespaces() -> dict[str, types.ModuleType]:
    """Returns path -> module, of the namespaces and of the modules that these list."""
    found = {f"tt.{name}": getattr(tt, name) for name in tt.NAMESPACES}
    # `tt.splits` and `tt.tasks` are modules of two rooms, which list them as well.
    short = {id(module) for module in found.values()}
    for path, module in list(found.items()):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, types.ModuleType) and id(value) not in short:
                found[f"{path}.{name}"] = value
    return found


def names_of(module: types.ModuleType) -> list[str]:
    """Returns the public names of a namespace, without modules."""
    listed = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return [name for name in listed if not isinstance(getattr(module, name), types.ModuleType)]


def public_objects() -> dict[str, Any]:
    """Returns path -> object of all public names in the namespaces; an object of two namespaces has two paths."""
    return {
        f"{path}.{name}": getattr(module, name) for path, module in namespaces().items() for name in names_of(module)
    }


def classes_and_functions() -> dict[str, Any]:
    """Returns path -> class or function, each once, and leaves constants out."""
    found: dict[int, tuple[str, Any]] = {}
    for path, value in public_objects().items():
        if inspect.isclass(value) or inspect.isfunction(value):
            found.setdefault(id(value), (path, value))
    return dict(found.values())


def listing() -> list[str]:
    """Returns a line for each public name, class member and alias, sorted."""
    canonical: dict[int, str] = {}
    lines = []
    for path, value in public_objects().items():
        is_described = inspect.isclass(value) or inspect.isfunction(value)
        if is_described and id(value) in canonical:
            lines.append(f"{path} = {canonical[id(value)]}")
            continue
        if is_described:
            canonical[id(value)] = path
        lines += list(_describe(path, value))
    for name in tt.__all__:
        value = getattr(tt, name)
        lines.append(f"tt.{name} = {canonical[id(value)]}" if id(value) in canonical else f"tt.{name}: constant")
    return sorted(lines)


def _describe(path: str, value: Any) -> Iterator[str]:
    if inspect.isfunction(value):
        yield f"{path}{_signature(value)}"
    elif inspect.isclass(value):
        yield f"{path}{_constructor(value)}"
        yield from _members(path, value)
    else:
        yield f"{path}: {type(value).__name__} constant"


def _constructor(kind: type) -> str:
    """Returns the signature of the constructor that this package defines, or "" if it defines none."""
    if hasattr(kind, "_fields"):
        return _signature(kind.__new__, skips_first=True)
    for base in kind.__mro__:
        if _is_ours(base) and "__init__" in vars(base):
            return _signature(vars(base)["__init__"], skips_first=True)
    return ""


def _members(path: str, kind: type) -> Iterator[str]:
    """Describes the public methods and properties of a class, and those of bases that are not public themselves."""
    public = {value for value in classes_and_functions().values() if inspect.isclass(value)}
    bases = [base for base in kind.__mro__ if base is kind or (_is_ours(base) and base not in public)]
    members = {name: value for base in reversed(bases) for name, value in vars(base).items()}
    # A field whose default is a function looks like a method.
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for name, value in members.items():
        if name.startswith("_") or name in fields:
            continue
        if isinstance(value, property):
            yield f"{path}.{name}: {_text(inspect.signature(value.fget).return_annotation)}"
        elif isinstance(value, functools.cached_property):
            yield f"{path}.{name}: {_text(inspect.signature(value.func).return_annotation)}"
        elif isinstance(value, classmethod | staticmethod):
            yield f"{path}.{name}{_signature(value.__func__, skips_first=isinstance(value, classmethod))}"
        elif inspect.isfunction(value):
            yield f"{path}.{name}{_signature(value, skips_first=True)}"


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == PACKAGE


def _signature(function: Any, *, skips_first: bool = False) -> str:
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=_Text(_text(parameter.annotation)), default=_default(parameter.default))
        if parameter.annotation is not inspect.Parameter.empty
        else parameter.replace(default=_default(parameter.default))
        for parameter in list(signature.parameters.values())[skips_first:]
    ]
    result = signature.return_annotation
    if result is not inspect.Signature.empty:
        result = _Text(_text(result))
    return str(signature.replace(parameters=parameters, return_annotation=result))


class _Text:
    """Text that a signature shows as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _text(annotation: Any) -> str:
    """Returns an annotation as it is written in the source."""
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if isinstance(annotation, str):
        return annotation
    return "None" if annotation is None else getattr(annotation, "__name__", str(annotation))


def _default(default: Any) -> Any:
    """Returns a default whose text is the same in every process."""
    if default is inspect.Parameter.empty:
        return default
    if inspect.isfunction(default) or inspect.isclass(default):
        return _Text(default.__name__)
    # The factory of a dataclass's field, whatever it is.
    if type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS" or default is dataclasses.MISSING:
        return _Text("<factory>")
    return _Text(re.sub(r" at 0x[0-9a-f]+", "", repr(default)))

"""YAML files of options: ``name: value``, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.files import require_regular


def load_yaml(path: Path) -> tuple[dict[str, Any], Any]:
    """The mapping in a YAML file, and its node; InvalidArgumentError where there is none."""
    import yaml

    try:
        require_regular(path)
        text = path.read_text(encoding="utf-8")
        node, value = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path} is not YAML: {error}") from error
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise InvalidArgumentError(f"{path} must hold options as name: value, one a line")
    require_text_keys(path, node)
    return value or {}, node


def require_text_keys(path: Path, node: Any) -> None:
    """YAML reads on, off, yes, no, numbers and << as something else than names."""
    for key, _ in node.value if node is not None else ():
        if key.tag != "tag:yaml.org,2002:str":
            words = key.value if isinstance(key.value, str) else "a list or mapping"
            raise InvalidArgumentError(
                f"{path} line {key.start_mark.line + 1}: {words} is no text, and names of options "
                "are; quote it, or take it out"
            )

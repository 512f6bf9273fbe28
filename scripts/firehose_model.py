"""Writes crates/firehose/src/model.json: the members and constraints of the inputs of the Firehose API, from botocore.

`--check` only says whether the file is up to date.
"""

import json
import sys
from pathlib import Path

import botocore.session

TARGET = Path(__file__).parent.parent / "crates/firehose/src/model.json"
KEPT = ("type", "required", "enum", "min", "max", "pattern")


def compact(shape: dict) -> dict:
    """The part of a shape that a check needs."""
    kept = {key: shape[key] for key in KEPT if key in shape}
    if "members" in shape:
        kept["members"] = {name: member["shape"] for name, member in shape["members"].items()}
    for part in ("member", "key", "value"):
        if part in shape:
            kept[part] = shape[part]["shape"]
    return kept


def reachable(shapes: dict, roots: list[str]) -> dict:
    """The shapes that the roots name, directly or not."""
    found, waiting = {}, list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = compact(shapes[name])
        waiting += found[name].get("members", {}).values()
        waiting += [found[name][part] for part in ("member", "key", "value") if part in found[name]]
    return found


def main() -> int:
    model = botocore.session.get_session().get_service_model("firehose")
    shapes = model._service_description["shapes"]
    operations = {name: model.operation_model(name).input_shape.name for name in model.operation_names}
    text = json.dumps({"operations": operations, "shapes": reachable(shapes, list(operations.values()))}, indent=1)
    if "--check" in sys.argv:
        return 0 if TARGET.read_text() == text + "\n" else 1
    TARGET.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

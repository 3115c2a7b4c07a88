"""A small publish in a process of its own, to be killed at every system call (see test_crash.py).

`python publish_once.py HOW OUT`: HOW is `plain` or `growing`, or one of the wrong ways that the sweep must catch.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from electra_cli.artifacts import Recipe, claim, publish_inside
from electra_cli.errors import ElectraError
from electra_cli.reporting import Silent

FILES = {"a.txt": b"alpha" * 100, "sub/b.bin": bytes(range(256))}
RECIPES = {
    "plain": Recipe("tokenizer", "make", 1, {"n": 1}, ()),
    "growing": Recipe("checkpoint", "train", 1, {"n": 1}, ()),
}


def publish(how: str, out: Path) -> str:
    """Publish with the real code and return the content id."""
    with claim(out, RECIPES[how], report=Silent(), growing=how == "growing") as found:
        if found.done is not None:
            return found.done.content_id
        draft = found.draft
        if how == "growing":
            for step in (1, 2):
                if not (draft.path / "checkpoints" / f"step-{step}").exists():
                    publish_inside(draft.path / "checkpoints", f"step-{step}", RECIPES[how], write_files)
        write_files(draft)
        return draft.publish(spec={"unk": 1}).content_id


def write_files(draft):
    """Fill a draft."""
    for name, data in FILES.items():
        draft.write_bytes(name, data)
    return {}


def in_place(out: Path) -> None:
    """The wrong way: a good manifest first, then the files, all under the final name."""
    publish("plain", out.with_name("good"))
    good = next(path for path in out.with_name("good").iterdir() if path.name == "v1")
    final = out / "v2"
    (final / "sub").mkdir(parents=True)
    for name in ("manifest.json", *FILES):
        with open(final / name, "wb") as file:
            file.write((good / name).read_bytes())
            os.fsync(file.fileno())


def early_rename(out: Path) -> None:
    """The wrong way: renamed into place before the last file is written."""
    publish("plain", out.with_name("good"))
    good = out.with_name("good") / "v1"
    staging = out / ".v2.partial"
    (staging / "sub").mkdir(parents=True)
    names = ["manifest.json", *FILES]
    for number, name in enumerate(names):
        if number == len(names) - 1:
            os.rename(staging, out / "v2")
            staging = out / "v2"
        with open(staging / name, "wb") as file:
            file.write((good / name).read_bytes())


def unsynced(out: Path) -> None:
    """The wrong way that no kill shows: the right order, with nothing forced to the disk."""
    os.fsync = lambda handle: None
    publish("plain", out)


if __name__ == "__main__":
    how, out = sys.argv[1], Path(sys.argv[2])
    try:
        if how in RECIPES:
            print(json.dumps(publish(how, out)))
        else:
            globals()[how](out)
    except ElectraError as error:
        sys.exit(error.exit_code)

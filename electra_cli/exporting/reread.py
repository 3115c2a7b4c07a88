"""Runs in a fresh process: reads an exported folder as a stranger would and says what it computes.

`python -m electra_cli.exporting.reread FOLDER EXCHANGE` takes the question from EXCHANGE (`texts.json`,
`batch.safetensors`) and leaves the answers there (`answers.json`, `answers.safetensors`). Nothing is shared with the
process that wrote the folder but the files.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra_cli.exporting.hf import AUTO_CLASS_OF
from electra_cli.exporting.reference import Reference
from electra_cli.exporting.reference_tokenizer import ReferenceTokenizer


def read_plainly(folder: Path, texts: list[list[str]], batch: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Ids of the texts and logits of the batch by the reference readers."""
    tokenizer = ReferenceTokenizer(folder)
    logits = Reference(folder).logits(batch["ids_BL"], batch["types_BL"], batch["mask_BL"])
    return [tokenizer.encode(*pair) for pair in texts], logits


def read_with_transformers(folder: Path, texts: list[list[str]], batch: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """The same by the `transformers` library's Auto classes.

    Raises:
        ValueError: the library finds tensors missing, unexpected or of another shape.
    """
    import transformers

    (architecture,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    auto_class = getattr(transformers, AUTO_CLASS_OF[architecture])
    model, info = auto_class.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    faults = {kind: sorted(map(str, names)) for kind, names in info.items() if names and kind.endswith("_keys")}
    if faults:
        raise ValueError(f"transformers could not place every tensor: {faults}")
    with torch.inference_mode():
        output = model.eval().float()(
            input_ids=batch["ids_BL"], token_type_ids=batch["types_BL"], attention_mask=batch["mask_BL"]
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = [list(map(int, tokenizer(*pair)["input_ids"])) for pair in texts]
    return ids, output.logits


def main(folder: Path, exchange: Path) -> None:
    """Answer the question in `exchange` about `folder`."""
    (architecture,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    texts = json.loads((exchange / "texts.json").read_text(encoding="utf-8"))
    batch = load_file(exchange / "batch.safetensors")

    def counted(logits: Tensor) -> Tensor:  # padding's logits mean nothing; a classifier has none
        per_row = architecture == "ElectraForSequenceClassification"
        return (logits if per_row else logits[batch["mask_BL"] == 1]).float().contiguous()

    ids, logits = read_plainly(folder, texts, batch)
    answers: dict[str, Any] = {"plain reading": ids}
    tensors = {"plain reading": counted(logits)}
    if importlib.util.find_spec("transformers") is not None:
        import transformers

        name = f"transformers {transformers.__version__}"
        answers[name], logits = read_with_transformers(folder, texts, batch)
        tensors[name] = counted(logits)
    save_file(tensors, exchange / "answers.safetensors")
    (exchange / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

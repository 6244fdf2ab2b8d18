"""Train a small PyTorch network on scikit-learn's digits and write it as StableHLO, by torchax.

    pip install torch torchax scikit-learn
    python export.py digits_loss.mlir

jaxfs needs none of these: ``digits_loss.mlir`` beside this file was made with torch 2.13 and jax
0.10.2.  It is the loss of one image, f32[64] pixels and f32[10] one-hot label, weights inside.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

STEPS = 400


class Loss(torch.nn.Module):
    """64 pixels -> 16 -> 10 scores, and how far they are from a label."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(64, 16), torch.nn.Linear(16, 10)

    def forward(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        scores = self.out(torch.tanh(self.hidden(image)))
        return -(torch.log_softmax(scores, -1) * label).sum()


def main(out: Path) -> None:
    """Train on three quarters of the images; those of ../digits are among the others."""
    images, labels = load_digits(return_X_y=True)
    x, _, y, _ = train_test_split(np.float32(images / 16), labels, random_state=0, stratify=labels)
    torch.manual_seed(0)
    model, one_hot = Loss(), np.eye(10, dtype=np.float32)[y]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model(torch.tensor(x), torch.tensor(one_hot)) / len(x)).backward()
        optimizer.step()
    # importing it makes jax a device of torch, which cannot train
    from torchax import export

    example = (torch.tensor(x[0]), torch.tensor(one_hot[0]))
    program = torch.export.export(model.eval(), example)
    weights, function = export.exported_program_to_jax(program)
    shapes = [jax.ShapeDtypeStruct(tuple(t.shape), "float32") for t in example]
    lowered = jax.jit(lambda image, label: function(weights, (image, label))[0]).lower(*shapes)
    out.write_text(lowered.as_text())
    print(f"{out.name} has {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Train a small Flax network on scikit-learn's handwritten digits and export it for jaxfs.

Needs flax, optax and scikit-learn, which jaxfs does not (``pip install flax optax scikit-learn``);
the files kept beside it were made with jax 0.10.2 and flax 0.12.8 and also load on jax 0.12:

    digits.jaxexport   jax.export: 64 images f32[64,64] -> class ids, the weights inside
    digits_conv.mlir   StableHLO text, as jax lowered a convolutional net: one image -> 10 scores
    images.npy         64 test images that the networks have not seen
    labels.txt         what they show, one a line
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import export
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
BATCH = 64
# An export keeps the path of every source line; without directories it is the same anywhere.
jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*/")


class Mlp(nn.Module):
    """64 pixels -> 32 -> 10 scores."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(10)(nn.relu(nn.Dense(32)(x)))


class Conv(nn.Module):
    """8x8 pixels -> 8 feature maps -> 10 scores."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(8, (3, 3))(x.reshape(-1, 8, 8, 1)))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


def fit(model: nn.Module, x: np.ndarray, y: np.ndarray, steps: int = 1500) -> dict[str, object]:
    """Weights after ``steps`` of Adam on all of ``x`` f32[n,64], ``y`` i64[n]."""
    params = model.init(jax.random.key(0), x[:1])
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):  # type: ignore[no-untyped-def]  # pytrees
        def loss(p):  # type: ignore[no-untyped-def]
            return optax.softmax_cross_entropy_with_integer_labels(model.apply(p, x), y).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params


def main() -> None:
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0, stratify=y)
    images, labels = test_x[:BATCH], test_y[:BATCH]

    mlp, conv = Mlp(), Conv()
    mlp_params, conv_params = fit(mlp, train_x, train_y), fit(conv, train_x, train_y)
    classify = jax.jit(lambda image: jnp.argmax(mlp.apply(mlp_params, image), -1).astype("int32"))
    scores = jax.jit(lambda image: conv.apply(conv_params, image[None])[0])

    exported = export.export(classify)(jax.ShapeDtypeStruct(images.shape, jnp.float32))
    (HERE / "digits.jaxexport").write_bytes(exported.serialize())
    (HERE / "digits_conv.mlir").write_text(scores.lower(images[0]).as_text())
    np.save(HERE / "images.npy", images)
    (HERE / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    print("mlp accuracy ", float(np.mean(classify(images) == labels)))
    guesses = np.array([int(np.argmax(scores(image))) for image in images])
    print("conv accuracy", float(np.mean(guesses == labels)))


if __name__ == "__main__":
    main()

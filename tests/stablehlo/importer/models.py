"""Small models of many kinds, as JAX lowers them: what an importer has to give back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import linalg, special

Function = Callable[[Any], Any]
X = np.linspace(0.1, 1.0, 12).reshape(3, 4)
SQUARE = X @ X.T + 2 * np.eye(3)
W = np.cos(np.arange(16.0)).reshape(4, 4)
IMAGE = np.sin(np.arange(2 * 6 * 6 * 3.0)).reshape(2, 6, 6, 3)
KERNEL = np.cos(np.arange(3 * 3 * 3 * 4.0)).reshape(3, 3, 3, 4) / 5


@attrs.frozen
class Model:
    """``at`` is where it is looked at; ``why_not`` is JAX's own reason for having no gradient."""

    name: str
    function: Function
    at: Any = attrs.field(default=X, eq=False)
    why_not: str = ""


def _softmax(x: Any) -> Any:
    return jax.nn.softmax(x, -1)


def _layer_norm(x: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def _attention(x: Any) -> Any:
    q, k, v = x @ W, jnp.tanh(x @ W.T), x * 2
    return _softmax(q @ k.T / 2) @ v


def _transformer(x: Any) -> Any:
    for _ in range(2):
        x = x + _attention(_layer_norm(x))
        x = x + jax.nn.gelu(_layer_norm(x) @ W) @ W.T
    return x


def _conv(x: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=numbers)


def _max_pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _mean_pool(x: Any) -> Any:
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME") / 4


def _convnet(x: Any) -> Any:
    h = _max_pool(jax.nn.relu(_conv(x)))
    return _softmax(h.reshape(2, -1) @ np.ones((36, 5)))


def _conv_transpose(x: Any) -> Any:
    return lax.conv_transpose(x, KERNEL, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _rnn(x: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        h = jnp.tanh(h @ W + row)
        return h, h.sum()

    return lax.scan(step, jnp.zeros(4), x)


def _lstm(x: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        h, c = carry
        i, f, o = jax.nn.sigmoid(row + h), jax.nn.sigmoid(row - h), jax.nn.sigmoid(row * h)
        c = f * c + i * jnp.tanh(row @ W)
        return (o * jnp.tanh(c), c), c

    return lax.scan(step, (jnp.zeros(4), jnp.ones(4)), x)


def _cond(x: Any) -> Any:
    return lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x)


def _switch(x: Any) -> Any:
    return lax.switch((x[0, 0] * 20).astype(int), [jnp.sin, jnp.cos, jnp.tanh], x)


def _while(x: Any) -> Any:
    return lax.while_loop(lambda c: c.sum() < 20, lambda c: 1.5 * c + jnp.sin(c), x)


def _ode(x: Any) -> Any:
    return lax.fori_loop(0, 10, lambda i, y: y + 0.1 * jnp.sin(y) * (i + 1), x)


def _updates(x: Any) -> Any:
    return lax.fori_loop(0, 3, lambda i, a: a.at[i].set(2 * x[i] + a.sum()), jnp.zeros_like(x))


def _dropout(x: Any) -> Any:
    return jnp.where(jax.random.bernoulli(jax.random.key(2), 0.5, x.shape), x, 0)


MODELS: tuple[Model, ...] = (
    Model("mlp", lambda x: jax.nn.relu(x @ W - 0.3) @ W.T),
    Model("softmax", _softmax),
    Model("log_softmax", lambda x: jax.nn.log_softmax(x)),
    Model("logsumexp", lambda x: jax.nn.logsumexp(x, 1)),
    Model("layer_norm", _layer_norm),
    Model("attention", _attention),
    Model("transformer", _transformer),
    Model("conv", _conv, IMAGE),
    Model("convnet", _convnet, IMAGE),
    Model("conv_transpose", _conv_transpose, IMAGE),
    Model("max_pool", _max_pool, IMAGE),
    Model("mean_pool", _mean_pool, IMAGE),
    Model("grad_of_max_pool", jax.grad(lambda x: (_max_pool(x) ** 2).sum()), IMAGE),
    Model("rnn", _rnn),
    Model("lstm", _lstm),
    Model("fori_loop", _ode),
    Model("fori_loop_with_updates", _updates),
    Model("associative_scan", lambda x: lax.associative_scan(jnp.multiply, x)),
    Model("cond", _cond),
    Model("switch", _switch),
    Model("while", _while, why_not="a loop whose length depends on data has no reverse mode"),
    Model("cumsum", lambda x: jnp.cumsum(x, 1)),
    Model("cumprod", lambda x: jnp.cumprod(x, 1)),
    Model("cummax", lambda x: lax.cummax(x * jnp.cos(9 * x))),
    Model("cumlogsumexp", lambda x: lax.cumlogsumexp(x, 1)),
    Model("sort", lambda x: jnp.sort(jnp.cos(9 * x), 1) * x),
    Model("sort_descending", lambda x: -jnp.sort(-jnp.sin(9 * x), 0)),
    Model("argsort", lambda x: x[jnp.argsort(jnp.cos(9 * x[:, 0]))] * x),
    Model("top_k", lambda x: lax.top_k(jnp.sin(9 * x), 2)[0]),
    Model("median", lambda x: jnp.median(jnp.sin(9 * x), 1)),
    Model("argmax", lambda x: x[jnp.argmax(jnp.sin(9 * x), 0), jnp.arange(4)]),
    Model("max", lambda x: jnp.max(jnp.sin(9 * x), 1)),
    Model("prod", lambda x: jnp.prod(x, 1)),
    Model("gather", lambda x: x[jnp.array([2, 0, 2]), 1:] ** 2),
    Model("scatter_add", lambda x: x.at[jnp.array([0, 2, 0])].add(x**2)),
    Model("scatter_set", lambda x: x.at[1].set(x[0] ** 2)),
    Model("scatter_max", lambda x: x.at[jnp.array([0, 2])].max(x[1:] * 0.7)),
    Model("segment_sum", lambda x: jax.ops.segment_sum(x**2, jnp.array([0, 1, 0]), 2)),
    Model("dynamic_slice", lambda x: lax.dynamic_slice(x, ((x[0, 0] * 10).astype(int), 0), (2, 3))),
    Model("one_hot", lambda x: jax.nn.one_hot(jnp.array([1, 3, 0]), 4) * x),
    Model("einsum", lambda x: jnp.einsum("ij,kj,kl->il", x, x, x)),
    Model("pad_roll_flip", lambda x: jnp.pad(jnp.roll(x, 1, 1)[:, ::-1], 1) ** 2),
    Model("complex", lambda x: jnp.abs(jnp.exp((1 + 2j) * x) + 1j)),
    Model("fft", lambda x: jnp.abs(jnp.fft.fft(x)) ** 2),
    Model("rfft", lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * 2)),
    Model("random", lambda x: x * jax.random.normal(jax.random.key(1), x.shape)),
    Model("dropout", _dropout),
    Model("erf", lambda x: special.erf(x) + special.erfc(x / 2) + special.erfinv(x / 2)),
    Model("gammaln", lambda x: special.gammaln(x + 0.5)),
    Model("digamma", lambda x: special.digamma(x + 0.5)),
    Model("igamma", lambda x: special.gammainc(2.0, x)),
    Model("betainc", lambda x: special.betainc(1.5, 2.5, x * 0.9)),
    Model("bessel", lambda x: special.i0e(x) + special.i1e(x)),
    Model("trigonometry", lambda x: jnp.arctan2(x, 1 + x) + jnp.arcsinh(x) + jnp.arccos(x / 2)),
    Model("cholesky", lambda a: jnp.linalg.cholesky(a), SQUARE),
    Model("solve", lambda a: jnp.linalg.solve(a, X), SQUARE),
    Model("inv", lambda a: jnp.linalg.inv(a), SQUARE),
    Model("det", lambda a: jnp.linalg.det(a), SQUARE),
    Model("triangular_solve", lambda a: linalg.solve_triangular(a, X, lower=True), SQUARE),
    Model("eigh", lambda a: jnp.linalg.eigh(a + a.T)[0], SQUARE),
    Model("svd", lambda a: jnp.linalg.svd(a, full_matrices=False)[1], X),
    Model("qr", lambda a: jnp.linalg.qr(a)[1], SQUARE),
    Model("expm", lambda a: linalg.expm(a / 4), SQUARE),
    Model("checkpoint", lambda x: jax.checkpoint(lambda y: jnp.sin(jnp.sin(y)))(x)),
    Model("clip_where", lambda x: jnp.where(x > 0.5, jnp.clip(x, 0.2, 0.8), x**2)),
    Model("bf16", lambda x: (x.astype(jnp.bfloat16) * jnp.bfloat16(1.5)).astype(x.dtype)),
    Model("interp", lambda x: jnp.interp(x, jnp.array([0.0, 0.5, 1]), jnp.array([0.0, 3, 1]))),
)

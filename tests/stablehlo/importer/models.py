"""Small models, as JAX lowers them: what an importer meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from jax.scipy import linalg, special, stats

Function = Callable[..., Any]


@attrs.frozen
class Model:
    """A function of floating-point arrays, and the shapes it is tried at.

    ``low`` and ``high`` bound the inputs, which are drawn as f64.  ``refusal`` is what must be said
    of its reverse-mode derivative where it has none.  ``reference`` computes the same in another
    way, for what JAX itself cannot differentiate.  ``is_costly`` says that second derivatives take
    seconds to compile; they are not tried in a mount too.
    """

    function: Function
    shapes: tuple[tuple[int, ...], ...]
    low: float = -1.0
    high: float = 1.0
    refusal: str = ""
    reference: Function | None = None
    is_costly: bool = False

    def inputs(self) -> list[Any]:
        random = np.random.default_rng(7)
        return [jnp.asarray(random.uniform(self.low, self.high, shape)) for shape in self.shapes]


MODELS: dict[str, Model] = {}


def model(*shapes: tuple[int, ...], **options: Any) -> Callable[[Function], Function]:
    def enter(function: Function) -> Function:
        MODELS[function.__name__] = Model(function, shapes, **options)
        return function

    return enter


# Networks


@model((3, 4), (4, 5), (5, 2))
def mlp(x: Any, w: Any, v: Any) -> Any:
    return jnp.tanh(x @ w) @ v


@model((1, 6, 6, 2), (3, 3, 2, 3))
def convnet(x: Any, kernel: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    h = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    h = nn.softplus(h)
    return lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@model((4, 4))
def gradient_of_max_pooling(x: Any) -> Any:
    def loss(x: Any) -> Any:
        return jnp.sum(lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 1), "VALID") ** 3)

    return jax.grad(loss)(x)


@model((1, 4, 4, 2), (3, 3, 2, 2))
def transposed_convolution(x: Any, kernel: Any) -> Any:
    return lax.conv_transpose(x, kernel, (2, 2), "SAME")


@model((2, 5, 4), (3, 1, 8))
def grouped_dilated_convolution(x: Any, kernel: Any) -> Any:
    return lax.conv_general_dilated(
        x, kernel, (2,), [(1, 2)], rhs_dilation=(2,), feature_group_count=4,
        dimension_numbers=("NWC", "WIO", "NWC"),
    )  # fmt: skip


@model((1, 6, 6, 1))
def average_pooling(x: Any) -> Any:
    sums = lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    return jnp.sin(sums / 9)


@model((4, 6), (6, 6), (6, 6), (6, 6))
def attention(x: Any, q: Any, k: Any, v: Any) -> Any:
    scores = (x @ q) @ (x @ k).T / np.sqrt(6.0)
    masked = jnp.where(jnp.tril(jnp.ones((4, 4), bool)), scores, -1e30)
    return nn.softmax(masked) @ (x @ v)


@model((4, 6), (2, 6, 18), (2, 6, 12), (2, 12, 6), is_costly=True)
def transformer(x: Any, qkv: Any, up: Any, down: Any) -> Any:
    for layer in range(2):
        q, k, v = jnp.split(layer_norm(x) @ qkv[layer], 3, axis=-1)
        q, k, v = (h.reshape(4, 2, 3).swapaxes(0, 1) for h in (q, k, v))
        weights = nn.softmax(jnp.einsum("hqd,hkd->hqk", q, k))
        x = x + jnp.einsum("hqk,hkd->qhd", weights, v).reshape(4, 6)
        x = x + nn.gelu(layer_norm(x) @ up[layer]) @ down[layer]
    return x


@model((3, 5))
def layer_norm(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)


@model((4, 3), (3,), (3,))
def batch_norm(x: Any, scale: Any, offset: Any) -> Any:
    return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5) * scale + offset


@model((5, 3), (3, 3), (3, 3))
def scan_rnn(xs: Any, w: Any, u: Any) -> Any:
    def step(h: Any, x: Any) -> tuple[Any, Any]:
        h = jnp.tanh(h @ w + x @ u)
        return h, h * x

    return lax.scan(step, jnp.zeros(3), xs)


@model((4, 2), (2, 8), (2, 8), is_costly=True)
def backward_lstm(xs: Any, w: Any, u: Any) -> Any:
    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        h, c = carry
        i, f, g, o = jnp.split(x @ w + h @ u, 4)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return (nn.sigmoid(o) * jnp.tanh(c), c), h

    return lax.scan(step, (jnp.zeros(2), jnp.zeros(2)), xs, reverse=True)


@model((3, 4), (3, 4))
def gradient_of_a_scan(xs: Any, ys: Any) -> Any:
    def loss(xs: Any) -> Any:
        last, outputs = lax.scan(lambda c, p: (jnp.sin(c * p[0]) + p[1], c), xs[0], (xs, ys))
        return jnp.sum(outputs**2) + jnp.sum(last)

    return jax.grad(loss)(xs)


@model((4, 3), (7, 3))
def embedding(x: Any, table: Any) -> Any:
    return table[jnp.array([0, 6, 2, 2])] * x


@model((6, 4))
def cross_entropy(logits: Any) -> Any:
    labels = nn.one_hot(jnp.array([0, 3, 1, 2, 0, 0]), 4)
    return -jnp.mean(jnp.sum(nn.log_softmax(logits) * labels, -1))


@model((3, 4))
def dropout(x: Any) -> Any:
    return jnp.where(jax.random.bernoulli(jax.random.key(3), 0.5, x.shape), x / 0.5, 0) ** 2


@model((2, 3))
def reparametrised_normal(x: Any) -> Any:
    return jnp.exp(x) * jax.random.normal(jax.random.key(0), x.shape, x.dtype)


# Loops and branches


@model((3,))
def ode_by_fori_loop(y: Any) -> Any:
    def step(i: Any, y: Any) -> Any:
        return y + 0.1 * jnp.array([y[1], -y[0], y[0] * y[2]]) + 0.01 * i

    return lax.fori_loop(0, 6, step, y)


@model((4, 3))
def updates_in_place(x: Any) -> Any:
    return lax.fori_loop(1, 4, lambda i, x: x.at[i].set(jnp.sin(x[i]) * x[i - 1]), x)


@model((4, 3))
def written_rows(x: Any) -> Any:
    return lax.fori_loop(0, 4, lambda i, y: y.at[i].set(x[3 - i] ** 2), jnp.zeros((4, 3)))


@model((3, 2))
def nested_scans(x: Any) -> Any:
    def outer(carry: Any, row: Any) -> tuple[Any, Any]:
        return lax.scan(lambda c, v: (c * v + 1, c + v), carry, row)

    return lax.scan(outer, jnp.ones(()), x)


@model((3,), low=0.5, refusal="has no reverse mode")
def newton_by_while_loop(x: Any) -> Any:
    def step(y: Any) -> Any:
        return (y + x / y) / 2

    return lax.while_loop(lambda y: jnp.any(jnp.abs(y * y - x) > 1e-12), step, x + 1)


def _bounded_loop_unrolled(x: Any) -> Any:
    for _ in range(9):
        x = jnp.where(jnp.sum(x) < 20, x * 1.5 + 1, x)
    return x


@model((3,), reference=_bounded_loop_unrolled)
def bounded_while_loop(x: Any) -> Any:
    def goes_on(carry: Any) -> Any:
        i, y = carry
        return (i < 9) & (jnp.sum(y) < 20)

    return lax.while_loop(goes_on, lambda c: (c[0] + 1, c[1] * 1.5 + 1), (0, x))[1]


@model((3,))
def branch(x: Any) -> Any:
    return lax.cond(jnp.sum(x) > 0, lambda x: jnp.sin(x) * x, lambda x: jnp.cos(x) ** 2, x)


@model((3,), low=0.1)
def switch(x: Any) -> Any:
    which = jnp.int32(x[0] * 3)
    return lax.switch(which, [jnp.sin, jnp.exp, lambda x: x * x], x)


@model((5,))
def checkpointed(x: Any) -> Any:
    return jax.checkpoint(lambda x: jnp.sin(jnp.sin(x) * x))(x)


# Order, search, index


@model((3, 5))
def sort(x: Any) -> Any:
    return jnp.sort(x, axis=1) * jnp.arange(5.0)


@model((4, 3))
def sort_by_key(x: Any) -> Any:
    order = jnp.argsort(x[:, 1], descending=True)
    return lax.sort((x[:, 0], x[:, 1]), num_keys=2)[1] + x[order, 2] ** 2


@model((3, 6))
def top_k(x: Any) -> Any:
    values, _ = lax.top_k(x, 2)
    return values**2


@model((3, 6))
def median_and_quantile(x: Any) -> Any:
    return jnp.median(x, axis=1), jnp.quantile(x, 0.3)


@model((4, 5))
def argmax_gather(x: Any) -> Any:
    return jnp.take_along_axis(x, jnp.argmax(x, 1)[:, None], 1) ** 2


@model((5, 3))
def segment_sum(x: Any) -> Any:
    return jax.ops.segment_sum(x**2, jnp.array([0, 2, 0, 1, 2]), 3)


@model((5, 3), (2, 3))
def scatter_updates(x: Any, u: Any) -> Any:
    i = jnp.array([3, 1])
    return x.at[i].add(u).at[:, 1].mul(2.0).at[0].set(u[0] * u[1]).at[i].max(u * 2)


@model((4, 5))
def dynamic_slices(x: Any) -> Any:
    start = jnp.argmax(x[:, 0])
    part = lax.dynamic_slice(x, (start, 1), (2, 3))
    return lax.dynamic_update_slice(x, jnp.sin(part), (0, start))


@model((3, 4))
def shapes_and_padding(x: Any) -> Any:
    y = jnp.pad(x, ((1, 2), (0, 1)), constant_values=0.5)[::-1, ::2]
    return jnp.roll(jnp.concatenate([y, y * y], 1), 1, 0).T.reshape(-1)


# Reductions


@model((3, 4), is_costly=True)
def cumulative(x: Any) -> Any:
    return jnp.cumsum(x, 1) + jnp.cumprod(x, 0), lax.cummax(x, 1), lax.cumlogsumexp(x, 0)


@model((3, 4), is_costly=True)
def log_sum_exp(x: Any) -> Any:
    return special.logsumexp(x, 1), jnp.prod(x, 0), jnp.max(x), x.std()


@model((3, 4))
def associative_scan(x: Any) -> Any:
    return lax.associative_scan(lambda a, b: a * b + a, x)


@model((3, 4))
def reduce_by_any_function(x: Any) -> Any:
    def combine(x: Any, y: Any) -> Any:
        return x + y + 0.1 * x * y

    return lax.reduce(x, np.float64(0), combine, (1,))


def _three(x: Any, y: Any, z: Any) -> Any:
    both = x + y + x * y
    return both + z + both * z


@model((6,), reference=lambda x: jnp.stack([_three(*x[:3]), _three(*x[2:5])]))
def window_by_any_function(x: Any) -> Any:
    return lax.reduce_window(x, np.float64(0), lambda x, y: x + y + x * y, (3,), (2,), "VALID")


# Linear algebra


def _definite(a: Any) -> Any:
    return a @ a.T + 3 * jnp.eye(a.shape[0])


@model((3, 3))
def cholesky(a: Any) -> Any:
    return jnp.linalg.cholesky(_definite(a))


@model((3, 3), (3, 2), is_costly=True)
def solve(a: Any, b: Any) -> Any:
    return jnp.linalg.solve(_definite(a) + a, b)


@model((3, 3), (3,))
def triangular_solve(a: Any, b: Any) -> Any:
    return linalg.solve_triangular(_definite(a), b, lower=True, trans=1)


@model((4, 3), is_costly=True)
def qr(a: Any) -> Any:
    q, r = jnp.linalg.qr(a)
    return q * jnp.sign(jnp.diag(r)), jnp.abs(r)


@model((3, 4), is_costly=True)
def svd(a: Any) -> Any:
    u, s, vt = jnp.linalg.svd(a, full_matrices=False)
    return s, (u * jnp.exp(-s)) @ vt


@model((3, 3), is_costly=True)
def eigh(a: Any) -> Any:
    values, vectors = jnp.linalg.eigh(_definite(a))
    return values, (vectors * jnp.log(values)) @ vectors.T


@model((3, 3), is_costly=True)
def determinant_and_inverse(a: Any) -> Any:
    return jnp.linalg.slogdet(_definite(a))[1], jnp.linalg.inv(_definite(a) - a)


# Functions


@model((5,), low=0.2, high=0.9)
def elementary(x: Any) -> Any:
    y = jnp.sinh(x) + jnp.arctan2(x, 1 + x) + jnp.cbrt(x) + x**1.7 + jnp.log1p(x) + jnp.expm1(x)
    return y + jnp.arcsin(x) + jnp.arccosh(1 + x) + jnp.arctanh(x) + jnp.hypot(x, x * x)


@model((5,), low=0.3, high=2.0, is_costly=True)
def special_functions(x: Any) -> Any:
    return (
        special.erf(x) + special.gammaln(x) + special.digamma(x) + special.i1e(x) + special.i0e(x)
    )


@model((4,), low=0.1, high=0.9)
def inverse_error_function(x: Any) -> Any:
    return special.erfinv(x) + special.erfc(x) + special.ndtri(x)


@model((4,), low=0.3, high=2.0, is_costly=True)
def incomplete_gamma(x: Any) -> Any:
    return special.gammainc(1.5, x) + special.gammaincc(2.5, x)


@model((4,), low=0.2, high=0.8)
def incomplete_beta(x: Any) -> Any:
    return special.betainc(1.5, 2.5, x)


@model((4,), low=-2, high=2)
def log_densities(x: Any) -> Any:
    return stats.norm.logpdf(x, 0.3, 2.0) + stats.t.logpdf(x, 3.0) + stats.gamma.logpdf(x + 3, 2.0)


@model((8,))
def fourier(x: Any) -> Any:
    spectrum = jnp.fft.rfft(x)
    return jnp.abs(jnp.fft.fft(x)), jnp.fft.irfft(spectrum * jnp.arange(5.0))


@model((4,), (4,))
def complex_numbers(x: Any, y: Any) -> Any:
    z = lax.complex(x, y)
    w = jnp.exp(z) * jnp.conj(z) / (2 + z)
    return jnp.real(w), jnp.abs(w), jnp.angle(3 + w)


@model((2, 3), (3, 4), (4, 2))
def einsum(a: Any, b: Any, c: Any) -> Any:
    return jnp.einsum("ij,jk,ki->ik", a, b, c), jnp.einsum("ij,jk->", a, b)


@model((4,))
def integers_and_bits(x: Any) -> Any:
    i = jnp.int32(x * 100)
    j = ((i << 2) ^ 5) % 7 + lax.population_count(i) + i // 3 + lax.clz(i) - (i >> 1)
    return x * j, jnp.floor(x * 3) + jnp.round(x * 5) + jnp.sign(x)


@model((3, 4))
def half_precision(x: Any) -> Any:
    h = x.astype(jnp.bfloat16) * jnp.bfloat16(1.5)
    return jnp.sum(h.astype(jnp.float32) ** 2, 1)


@model((5,))
def interpolated(x: Any) -> Any:
    return jnp.interp(x, jnp.array([-1.0, 0.0, 1.0]), jnp.array([0.0, 3.0, 1.0]))

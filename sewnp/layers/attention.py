"""Multi-head attention as SEW uses it."""

import numpy as np

from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import linear, linear_vjp
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.layers.softmax import masked_softmax, masked_softmax_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def multi_head_attention(x: Array, p: Weights, *, heads: int, mask: Array | None = None, see: See = unseen) -> Array:
    """Every frame asks every frame.  (B, N, H) -> (B, N, H).  Scope: ``encoder.layers.{i}.attention``.

    mask: boolean, broadcasts to (B, h, N, N) as (batch, head, query, key), True where a query may look.  A query that may look nowhere
    gets a context of zeros, so that its output is the bias of ``out_proj``.  Source: Vaswani et al. 2017, section 3.2.2.

    >>> one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    >>> p = {f"{name}_proj": one for name in ("q", "k", "v", "out")}
    >>> multi_head_attention(np.array([[[0.0], [np.log(3.0)]]]), p, heads=1).round(3).ravel()  # the second frame looks at itself
    array([0.549, 0.846])
    """
    q, k, v = (see(n, split_heads(linear(x, **p[f"{n}_proj"]), heads)) for n in "qkv")  # (B, h, N, d) each
    scores = see("scores", q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5)  # (B, h, N, N)
    probabilities = see("probabilities", masked_softmax(scores, mask))
    context = see("context", merge_heads(probabilities @ v))  # (B, N, H)
    return see("output", linear(context, **p["out_proj"]))


def multi_head_attention_vjp(
    x: Array, p: Weights, *, heads: int, mask: Array | None = None, see: SeeVjp = unseen_vjp
) -> tuple[Array, Pullback]:
    """:func:`multi_head_attention`, and dy -> dx, gradients nested as p.  x is asked three times, and three answers come back to it.

    >>> one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    >>> p = {f"{name}_proj": one for name in ("q", "k", "v", "out")}
    >>> y, pullback = multi_head_attention_vjp(np.array([[[1.0], [1.0]]]), p, heads=1)  # frames alike: each attends to both
    >>> pullback(np.array([[[1.0], [0.0]]]))[0].ravel()
    array([0.5, 0.5])
    """
    q, q_back = project_vjp("q", x, p, "q_proj", heads, see)  # (B, h, N, d) each
    k, k_back = project_vjp("k", x, p, "k_proj", heads, see)
    v, v_back = project_vjp("v", x, p, "v_proj", heads, see)
    scale = q.shape[-1] ** -0.5
    scores, scores_back = see("scores", q @ np.swapaxes(k, -1, -2) * scale)  # (B, h, N, N)
    probabilities, softmax_back = masked_softmax_vjp(scores, mask)
    probabilities, probabilities_back = see("probabilities", probabilities)
    context, context_back = see("context", merge_heads(probabilities @ v))  # (B, N, H)
    y, out_back = linear_vjp(context, **p["out_proj"])
    y, output_back = see("output", y)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dcontext, out = out_back(output_back(dy))
        dcontext = split_heads(context_back(dcontext), heads)
        dprobabilities = dcontext @ np.swapaxes(v, -1, -2)
        dscores = scores_back(softmax_back(probabilities_back(dprobabilities))) * scale
        dxq, dq = q_back(dscores @ k)
        dxk, dk = k_back(np.swapaxes(dscores, -1, -2) @ q)
        dxv, dv = v_back(np.swapaxes(probabilities, -1, -2) @ dcontext)
        return dxq + dxk + dxv, dq | dk | dv | {"out_proj": out}

    return y, pullback


def project_vjp(name: str, x: Array, p: Weights, projection: str, heads: int, see: SeeVjp) -> tuple[Array, Pullback]:
    """A projection, split into heads and shown as ``name``.  (B, N, H) -> (B, h, N, d), and dy -> dx, gradients under the projection's name.

    >>> p = {"q_proj": {"weight": np.array([[2.0]]), "bias": np.zeros(1)}}
    >>> y, pullback = project_vjp("q", np.array([[[3.0]]]), p, "q_proj", 1, unseen_vjp)
    >>> pullback(np.array([[[[1.0]]]]))
    (array([[[2.]]]), {'q_proj': {'weight': array([[3.]]), 'bias': array([1.])}})
    """
    y, linear_back = linear_vjp(x, **p[projection])
    y, seen_back = see(name, split_heads(y, heads))

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dx, grads = linear_back(merge_heads(seen_back(dy)))
        return dx, {projection: grads}

    return y, pullback

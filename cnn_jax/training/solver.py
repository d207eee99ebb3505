"""The classifier on cached features, solved to its optimum with L-BFGS: multinomial logistic regression.

The objective is that of scikit-learn's `LogisticRegression` divided by the number of images n: the mean cross-entropy
plus l2 / 2 times the sum of the squared kernel, not of the bias, with l2 = 1 / (C n). It is convex, so neither a
learning rate nor the initial values decide what comes out. Of two classes, scikit-learn has one column of weights, the
difference of the two here: the same probabilities with l2 = 2 / (C n).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Num

from cnn_jax.runtime.compiling import jit
from cnn_jax.training.loss import losses
from cnn_jax.training.run.mesh import Mesh

STRENGTHS = tuple(10.0 ** (-half / 2) for half in range(-4, 13))
"""Of the L2 term, from which the default is chosen: from 100 to 1e-6, two in each decade."""
HELD_OUT = 5
"""One training image of so many decides between them."""
ENOUGH = 3
"""Strengths in a row with a higher loss on those than the best so far, after which weaker ones are not tried."""
ITERATIONS = 2000
"""At most."""
TOLERANCE = 2e-7
"""The largest entry of the gradient that ends the search, for features of variance 1; float32 knows it to 1e-7."""
PATIENCE = 30
"""Iterations without a lower objective that end it too: float32 can tell no more then."""


class Classifier(NamedTuple):
    """The weights of the last layer."""

    kernel: Float32[Array | np.ndarray, "d classes"]
    bias: Float32[Array | np.ndarray, " classes"]


@dataclass(frozen=True)
class Solution:
    """The optimum over all training images."""

    classifier: Classifier
    l2: float
    iterations: int
    """Of this strength and of those that were tried before it."""
    is_optimum: bool
    """False where the search ended at `ITERATIONS`."""
    loss: float
    """Mean over the images, without the L2 term."""
    accuracy: float
    gradient_norm: float
    """Of the objective; what float32 leaves of 0."""


@dataclass(frozen=True)
class Trial:
    """A strength that was tried."""

    l2: float
    losses: Float32[np.ndarray, " m"]
    """Of the held-out images, without the L2 term."""
    point: Classifier
    """The optimum over the others, for features less their mean."""
    iterations: int

    @property
    def loss(self) -> float:
        """Their mean."""
        return float(self.losses.mean(dtype=np.float64))


class _Search(NamedTuple):
    """Between two iterations."""

    point: Classifier
    state: optax.OptState
    steepest: Float32[Array, ""]
    """The largest entry of the gradient."""
    lowest: Float32[Array, ""]
    """The lowest objective so far."""
    since: Int32[Array, ""]
    """Iterations without a lower one."""
    iterations: Int32[Array, ""]


class Problem:
    """Features on the devices, an equal part on each, and the two programs that all strengths share."""

    def __init__(
        self,
        features: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        classes: int,
        mesh: Mesh,
        smoothing: float = 0.0,
        class_weights: Float32[Array, " classes"] | None = None,
    ) -> None:
        """Put them there.

        Args:
            features: of the training images.
            labels: their classes.
            smoothing: share of the target that is spread over all classes.
            class_weights: factors of the losses; not divided by their sum.
        """
        self._mesh, self._labels = mesh, labels
        # the optimum's kernel is the same with the mean taken away, since the bias is free; the search is shorter
        self._mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = features.astype(np.float32, copy=False) - self._mean
        self._rows = self._put(centred), self._put(labels.astype(np.int32))
        self._variance = mesh.replicate(centred.var(axis=0, dtype=np.float64).astype(np.float32))
        self._shape = features.shape[1], classes

        def each(
            point: Classifier, rows: tuple[Float32[Array, "n d"], Int32[Array, " n"]]
        ) -> tuple[Float32[Array, " n"], Bool[Array, " n"]]:
            """The loss of each row, and whether it is right."""
            features, labels = rows
            logits = jnp.dot(features, point.kernel, precision=jax.lax.Precision.HIGHEST) + point.bias
            return losses(logits, labels, smoothing, class_weights), logits.argmax(-1) == labels

        def objective(
            point: Classifier, rows: Any, mask: Float32[Array, " n"], l2: Float32[Array, ""]
        ) -> Float32[Array, ""]:
            return (mask * each(point, rows)[0]).sum() / mask.sum() + l2 / 2 * (point.kernel**2).sum()

        def measure(point: Classifier, rows: Any, mask: Float32[Array, " n"], l2: Float32[Array, ""]) -> Any:
            return *each(point, rows), optax.tree.norm(jax.grad(objective)(point, rows, mask, l2))

        def search(
            point: Classifier,
            variance: Float32[Array, " d"],
            rows: Any,
            mask: Float32[Array, " n"],
            l2: Float32[Array, ""],
        ) -> Any:
            scale = jnp.sqrt(variance + l2)[:, None]  # with features of one size, far fewer iterations
            start = point._replace(kernel=point.kernel * scale)
            found, count = _search(lambda at: objective(at._replace(kernel=at.kernel / scale), rows, mask, l2), start)
            return found._replace(kernel=found.kernel / scale), count

        self._measure, self._search = (jit(function, out_shardings=mesh.replicated) for function in (measure, search))

    def _put(self, rows: Num[np.ndarray, "n ..."]) -> Num[Array, "m ..."]:
        """The rows, filled up with zeros where they do not divide over the devices."""
        missing = -len(rows) % self._mesh.devices
        filled = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)]) if missing else rows
        return jax.make_array_from_callback(filled.shape, self._mesh.sharded, lambda index: filled[index])

    def _of(self, chosen: Bool[np.ndarray, " n"], l2: float) -> tuple[Any, Float32[Array, " m"], np.float32]:
        return self._rows, self._put(chosen.astype(np.float32)), np.float32(l2)

    def optimum(
        self, l2: float, chosen: Bool[np.ndarray, " n"], start: Classifier | None = None
    ) -> tuple[Classifier, int]:
        """The optimum over the `chosen` rows, for features less their mean, and how many iterations it took.

        Args:
            chosen: whether a row counts.
            start: a point near it; None is all zeros.
        """
        zeros = Classifier(np.zeros(self._shape, np.float32), np.zeros(self._shape[1:], np.float32))
        point, iterations = self._search(self._mesh.replicate(start or zeros), self._variance, *self._of(chosen, l2))
        return point, int(iterations)

    def losses(self, point: Classifier, chosen: Bool[np.ndarray, " n"]) -> Float32[np.ndarray, " m"]:
        """Of the `chosen` rows, without an L2 term."""
        return np.asarray(self._measure(point, *self._of(chosen, 0.0))[0])[: len(chosen)][chosen]

    def solution(self, l2: float, start: Classifier | None = None, iterations: int = 0) -> Solution:
        """The optimum over all rows, for features as they are; `iterations` are those before."""
        everything = np.ones(len(self._labels), bool)
        point, count = self.optimum(l2, everything, start)
        each, right, norm = self._measure(point, *self._of(everything, l2))
        loss, accuracy = (float(np.asarray(rows)[: len(everything)].mean(dtype=np.float64)) for rows in (each, right))
        kernel = np.asarray(point.kernel)
        bias = (np.asarray(point.bias, np.float64) - self._mean.astype(np.float64) @ kernel).astype(np.float32)
        found = Classifier(kernel, bias)
        return Solution(found, l2, iterations + count, count < ITERATIONS, loss, accuracy, float(norm))


def _search(
    objective: Callable[[Classifier], Float32[Array, ""]], start: Classifier
) -> tuple[Classifier, Int32[Array, ""]]:
    """The point where an objective is lowest, and the number of iterations."""
    optimizer, value_and_grad = optax.lbfgs(), optax.value_and_grad_from_state(objective)

    def goes_on(search: _Search) -> Bool[Array, ""]:
        return (search.steepest > TOLERANCE) & (search.since < PATIENCE) & (search.iterations < ITERATIONS)

    def step(search: _Search) -> _Search:
        value, gradient = value_and_grad(search.point, state=search.state)
        updates, state = optimizer.update(
            gradient, search.state, search.point, value=value, grad=gradient, value_fn=objective
        )
        point = optax.apply_updates(search.point, updates)
        reached, slope = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
        since = jnp.where(reached < search.lowest, 0, search.since + 1)
        steepest = jnp.max(jnp.asarray([jnp.abs(part).max() for part in slope]))
        return _Search(point, state, steepest, jnp.minimum(reached, search.lowest), since, search.iterations + 1)

    infinite, none = jnp.asarray(jnp.inf, jnp.float32), jnp.zeros((), jnp.int32)
    found = jax.lax.while_loop(goes_on, step, _Search(start, optimizer.init(start), infinite, infinite, none, none))
    return found.point, found.iterations


def strength_of(c: float, images: int, classes: int) -> float:
    """The l2 that is scikit-learn's `C`; the inverse too, from l2 to C."""
    return (2 if classes == 2 else 1) / (c * images)


def held_out(labels: Int[np.ndarray, " n"], seed: int) -> Bool[np.ndarray, " n"]:
    """Which training images decide how strong the L2 term is: a fifth of each class, drawn by the seed."""
    chosen, random = np.zeros(len(labels), bool), np.random.default_rng([seed, HELD_OUT])
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen[members[: len(members) // HELD_OUT]] = True
    return chosen


def strengths(problem: Problem, out: Bool[np.ndarray, " n"]) -> Iterator[Trial]:
    """Solve without the images of `out`, from the strongest L2 term to ever weaker ones."""
    point, tried = None, list[Trial]()
    for l2 in STRENGTHS:
        point, iterations = problem.optimum(l2, ~out, point)
        tried.append(Trial(l2, problem.losses(point, out), point, iterations))
        yield tried[-1]
        if len(tried) - 1 - int(np.argmin([trial.loss for trial in tried])) == ENOUGH:
            return


def best(tried: Sequence[Trial]) -> Trial:
    """The strongest L2 term whose loss on the held-out images is not clearly above the lowest.

    Not clearly: by no more than the standard error of the difference, image by image. It is the one-standard-error rule
    (Breiman et al., 1984): where the held-out images tell nothing, the simpler classifier.
    """
    lowest = min(tried, key=lambda trial: trial.loss)
    for trial in tried:
        more = trial.losses.astype(np.float64) - lowest.losses
        if more.mean() <= more.std() / np.sqrt(len(more)):
            return trial
    return lowest  # where the losses are no numbers

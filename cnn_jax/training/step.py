"""The training step and the prediction step: pure functions, compiled once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.mesh import Mesh
from cnn_jax.training.state import Totals, TrainState

TrainStep = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, jax.Array]]
Predict = Callable[[Variables, jax.Array], jax.Array]


def make_train_step(
    model: Model, optimizer: optax.GradientTransformation, freezing: Freezing, seed: int, mesh: Mesh
) -> TrainStep:
    """The function (state, images uint8[b, s, s, 3], labels int32[b]) to (next state, loss float32[]).

    It differentiates with respect to the trainable parameters only, so frozen ones cost no backward pass.
    The state is donated: the one passed in cannot be used again.
    """

    def step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        trainable, frozen = freezing.split(state.params)
        dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)

        def mean_loss(trainable: Variables) -> tuple[jax.Array, tuple[jax.Array, Variables]]:
            variables = {"params": {**frozen, **trainable}, "batch_stats": state.batch_stats}
            logits, batch_stats = model.train_logits(variables, images, dropout_key, freezing.layers)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), (logits, batch_stats)

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(mean_loss, has_aux=True)(trainable)
        updates, opt_state = optimizer.update(grads, state.opt_state, trainable)
        trainable = optax.apply_updates(trainable, updates)
        totals = Totals(
            state.totals.loss + loss * labels.size,
            state.totals.correct + (logits.argmax(-1) == labels).sum(dtype=jnp.int32),
            state.totals.count + labels.size,
        )
        params = {layer: {**frozen, **trainable}[layer] for layer in state.params}
        return TrainState(state.step + 1, params, batch_stats, opt_state, totals), loss

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(mesh.replicated, mesh.sharded, mesh.sharded),
        out_shardings=(mesh.replicated, mesh.replicated),
    )


def make_predict(model: Model, mesh: Mesh) -> Predict:
    """The function (variables, images uint8[b, s, s, 3]) to logits float32[b, classes]."""
    return jax.jit(model.logits, in_shardings=(mesh.replicated, mesh.sharded), out_shardings=mesh.replicated)

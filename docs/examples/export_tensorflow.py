"""From Keras to a pruned ONNX file, with BatchNorm kept alive through TensorFlow and tf2onnx."""

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx.convert
from keras import KerasTensor, Model, layers, models
from tf2onnx.optimizer import GlobalPoolOptimizer, TransposeOptimizer

import pruneir


def conv_bn(x: KerasTensor, filters: int) -> KerasTensor:
    """A 3×3 convolution without bias, and its BatchNorm."""
    return layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))


def network(rng: np.random.Generator) -> Model:
    """A stem and one residual block, with γ, β, μ and σ² as various as training leaves them."""
    image = layers.Input((32, 32, 3), name="x")
    x = layers.ReLU()(conv_bn(image, 16))
    x = layers.ReLU()(layers.Add()([x, conv_bn(layers.ReLU()(conv_bn(x, 32)), 16)]))
    net = Model(image, layers.Dense(10, name="y")(layers.GlobalAveragePooling2D()(x)))
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.1, 1.0, w.shape) for w in layer.get_weights()])
    return net


class FusedBatchNorm(layers.BatchNormalization):
    """The same layer as one TensorFlow op: Keras 3 spells it out as x · a + b, where γ is lost."""

    def call(self, x: tf.Tensor, **_: object) -> tf.Tensor:
        """Normalise by the moving statistics: this layer is for export, not for training."""
        vectors = self.gamma, self.beta, self.moving_mean, self.moving_variance
        return tf.compat.v1.nn.fused_batch_norm(x, *vectors, epsilon=self.epsilon, is_training=False)[0]


def fused(layer: layers.Layer) -> layers.Layer:
    """A fresh copy of a layer; a BatchNormalization becomes a FusedBatchNorm."""
    kind = FusedBatchNorm if type(layer) is layers.BatchNormalization else type(layer)
    return kind.from_config(layer.get_config())


rng = np.random.default_rng(0)
net, x = network(rng), rng.normal(size=(4, 32, 32, 3)).astype(np.float32)

twin = models.clone_model(net, clone_function=fused)
twin.set_weights(net.get_weights())
sparing = {"transpose": TransposeOptimizer, "pool": GlobalPoolOptimizer}  # and not the one that folds BatchNorm
model, _ = tf2onnx.convert.from_keras(twin, opset=17, optimizers=sparing)

assert [node.op_type for node in model.graph.node].count("BatchNormalization") == 3
(y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
np.testing.assert_allclose(y, net(x), rtol=0, atol=1e-5)

small = pruneir.optimize(model, passes=["slim{ratio=0.5}"])
small.save("net.pruned.onnx", force=True)
print(small.report["macs"], small.report["params"])

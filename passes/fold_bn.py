"""`fold-bn`: BatchNormalization into the weights beside it."""

from __future__ import annotations

from dataclasses import dataclass

from pruneir.folding.batchnorm import fold_batch_norms
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, Result


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold every BatchNormalization into the linear operator beside it. Lossless up to rounding.

    At inference BatchNormalization is y = s·x + t with s = γ / √(σ² + ε) and t = β − μ·s (Jacob et al., CVPR 2018,
    section 3.2), and so is a Mul or Add by a constant for each channel around it, as Caffe exports have.

    Behind Conv, ConvTranspose, Gemm, MatMul, also through Identity:   W′ = s·W,  b′ = s·b + t.
    Before Conv, Gemm, MatMul:   W′ = W·s along the inputs,  b′ = b + Σ W·t; with zero padding only where W·t is zero,
    since BatchNormalization does not make a padded zero t. Before ConvTranspose only where W·t is zero.

    Computed in double precision and rounded once to the weight's type. Weights keep their names; a new bias is called
    after its operator, `NODE.bias`; after a MatMul it is in an Add. Passes that read γ, such as `slim`, come before.

        x[N,3,8,8] -> y { c = Conv(x, w[8,3,3,3]); y = BatchNormalization(c, s[8], t[8], m[8], v[8]) }
        x[N,3,8,8] -> y { y = Conv(x, w[8,3,3,3], c.bias[8]) }

    Refused, each with the reason: weights that other operators read (PIR020), a result that is read elsewhere too
    (PIR021), padding (PIR022), weights or parameters computed at run time (PIR023), training mode (PIR024), no linear
    operator beside it (PIR025), parameters that make no finite numbers (PIR026).
    """

    name = "fold-bn"
    lossy = False

    def run(self, graph: Graph, context: Context) -> Result:
        """The graph with fewer BatchNormalizations, and a refusal for each that stays."""
        folded = graph.copy()
        found = sum(operator.is_a("BatchNormalization") for operator in folded.operators)
        done = fold_batch_norms(folded)
        note = (
            f"{found - len(done.refusals)} of {found} BatchNormalizations folded" if found else "no BatchNormalization"
        )
        return Result(
            folded,
            refusals=tuple(done.refusals),
            notes=(note,),
            changed=frozenset(done.changed),
            follows=done.follows,
        )

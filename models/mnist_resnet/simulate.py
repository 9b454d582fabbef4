"""Say what is left of the trained networks when their channels with the smallest γ fall silent.

Nothing is cut: in the network that the ONNX file holds, the γ of every chosen channel becomes zero, so that
the channel is the constant f(β) everywhere, and the MACs are counted as if the channel were gone.  Three
ways of treating the constant are compared:

    kept      β stays in place: what a cut could reach at best
    absorbed  β becomes zero too, and the BatchNorm behind each convolution that read the constant r lowers
              its running mean by Σ r · W; exact where no zero padding is seen
    dropped   β becomes zero, and nothing replaces it

Channels that residual additions tie are chosen together, by the mean |γ| over their BatchNorms.  One
threshold serves the whole network; among equal scores the channel whose cut saves the most MACs goes first.

    python models/mnist_resnet/simulate.py models/mnist_resnet/mnist_resnet_s*.onnx
"""

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional
from train import DATA, WIDTHS, Digits, ResNet, accuracy, batchnorms, zero_share

RATIOS = (0.4, 0.5, 0.6, 0.7)
CAP = 0.9
PIXELS = (14 * 14, 7 * 7, 4 * 4)


def load(path: Path) -> ResNet:
    """The network with the weights of an exported file, whose initializers bear the parameters' names."""
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(path).graph.initializer}
    model = ResNet()
    missing, unexpected = model.load_state_dict(stored, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"{path} does not hold this network: {unexpected or missing}")
    return model.eval()


def tied_groups() -> dict[str, list[str]]:
    """The names of the BatchNorms whose channels live or die together."""
    groups = {
        "stage1": ["stem.bn", "stage1.0.bn2", "stage1.1.bn2"],
        "stage2": ["stage2.0.shortcut.bn", "stage2.0.bn2", "stage2.1.bn2"],
        "stage3": ["stage3.0.shortcut.bn", "stage3.0.bn2", "stage3.1.bn2"],
    }
    return groups | {f"stage{s}.{b}": [f"stage{s}.{b}.bn1"] for s in (1, 2, 3) for b in (0, 1)}


def macs(width: dict[str, int]) -> int:
    """Multiply-accumulates of one image when each group has the given number of channels."""
    one, two, three = PIXELS
    total = 9 * one * width["stage1"] + 10 * width["stage3"]
    for stage, pixels in zip((1, 2, 3), PIXELS, strict=True):
        for block in (0, 1):
            stream, inner = width[f"stage{stage}"], width[f"stage{stage}.{block}"]
            enters = stream if stage == 1 or block == 1 else width[f"stage{stage - 1}"]
            total += 9 * pixels * inner * (enters + stream)
    return total + two * width["stage1"] * width["stage2"] + three * width["stage2"] * width["stage3"]


def full_width() -> dict[str, int]:
    return {name: WIDTHS[int(name[5]) - 1] for name in tied_groups()}


def choose(model: ResNet, ratio: float) -> dict[str, Tensor]:
    """For each group, a mask of the channels to cut."""
    bns, width = batchnorms(model), full_width()
    candidates = []
    for order, (group, names) in enumerate(tied_groups().items()):
        scores = torch.stack([bns[n].weight.detach().abs() for n in names]).mean(0)
        saved = macs(width) - macs(width | {group: width[group] - 1})
        lowest = scores.argsort(stable=True)[: int(CAP * len(scores))]
        candidates += [(scores[c].item(), -saved, order, group, int(c)) for c in lowest]
    cut = {name: torch.zeros(n, dtype=torch.bool) for name, n in width.items()}
    for *_, group, channel in sorted(candidates)[: round(ratio * sum(width.values()))]:
        cut[group][channel] = True
    return cut


@torch.no_grad()
def silence(model: ResNet, cut: dict[str, Tensor], constant: str) -> ResNet:
    """The network with the γ of the cut channels at zero and their constant kept, absorbed or dropped."""
    model = deepcopy(model)
    bns = batchnorms(model)
    for group, names in tied_groups().items():
        for name in names:
            bns[name].weight[cut[group]] = 0
    if constant == "absorbed":
        absorb(model, cut)
    if constant != "kept":
        for group, names in tied_groups().items():
            for name in names:
                bns[name].bias[cut[group]] = 0
    return model


def absorb(model: ResNet, cut: dict[str, Tensor]) -> None:
    """Hand the constants of the silent channels to the BatchNorms behind their readers, and to the head."""

    def hand_over(value: Tensor, conv: nn.Module, bn: nn.Module) -> None:
        bn.get_buffer("running_mean").sub_(conv.get_parameter("weight").sum((2, 3)) @ value)

    stream = functional.relu(model.get_parameter("stem.bn.bias")) * cut["stage1"]
    for stage in (1, 2, 3):
        for index in (0, 1):
            group = f"stage{stage}"
            block = model.get_submodule(f"{group}.{index}")
            conv1, bn1, conv2, bn2 = (block.get_submodule(n) for n in ("conv1", "bn1", "conv2", "bn2"))
            hand_over(stream, conv1, bn1)
            hand_over(functional.relu(bn1.get_parameter("bias")) * cut[f"{group}.{index}"], conv2, bn2)
            if stage > 1 and index == 0:
                hand_over(stream, block.get_submodule("shortcut.conv"), block.get_submodule("shortcut.bn"))
                stream = block.get_parameter("shortcut.bn.bias")
            stream = functional.relu(stream + bn2.get_parameter("bias")) * cut[group]
    model.head.bias.add_(model.head.weight @ stream)


def runtime_accuracy(path: Path, digits: Digits) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": digits.x.numpy()})
    return float((np.asarray(logits).argmax(1) == digits.y.numpy()).mean())


def report(path: Path, test: Digits) -> None:
    model, width = load(path), full_width()
    bns = batchnorms(model)
    torch_right, onnx_right = accuracy(model, test), runtime_accuracy(path, test)
    print(f"\n{path.name}: accuracy {torch_right:.2%} in torch, {onnx_right:.2%} in ONNX Runtime")
    print(f"  {sum(p.numel() for p in model.parameters()):,} parameters, {macs(width):,} MACs")
    print(f"  γ below 1e-3: {zero_share(model):.1%}; whole channels, by group:")
    for group, names in tied_groups().items():
        silent = torch.stack([bns[n].weight.detach().abs() for n in names]).mean(0) < 1e-3
        print(f"    {group:9} {int(silent.sum()):2} of {len(silent)} ({silent.float().mean():.0%})")
    print("  ratio     MACs      fewer   kept     absorbed  dropped")
    for ratio in RATIOS:
        cut = choose(model, ratio)
        left = macs({name: int((~mask).sum()) for name, mask in cut.items()})
        kept, absorbed, dropped = (accuracy(silence(model, cut, c), test) for c in ("kept", "absorbed", "dropped"))
        print(f"  {ratio:.0%}   {left:9,}  {macs(width) / left:6.2f}×  {kept:.2%}   {absorbed:.2%}    {dropped:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate channel cuts in the exported MNIST residual networks.")
    parser.add_argument("models", type=Path, nargs="+", help="files that train.py wrote")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(DATA / "mnist_test_2k.npz") as archive:
        test = Digits(torch.from_numpy(archive["x"]), torch.from_numpy(archive["y"]))
    for path in args.models:
        report(path, test)


if __name__ == "__main__":
    main()

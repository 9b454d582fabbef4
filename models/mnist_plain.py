"""The command line of the MNIST networks that are trained without a penalty: nothing in them is sparse.

Same digits, split, shifts, optimiser and export as mnist_resnet/train.py.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from mnist_resnet.train import DATA, accuracy, batchnorms, export, split_digits, train
from torch import nn


def start_batchnorms(model: nn.Module) -> None:
    """γ = 0.5 as in Network Slimming; β differ, since equal tensors would be exported as one."""
    for bn in batchnorms(model).values():
        nn.init.constant_(bn.weight, 0.5)
        nn.init.normal_(bn.bias, std=0.01)


def main(description: str, build: Callable[[], nn.Module], epochs: int) -> None:
    """Train what `build` makes, print its accuracy on the test digits and write it as ONNX."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the images")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--rate", type=float, default=0.05, help="the highest learning rate")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    training, test = split_digits(DATA)
    model = build()
    start_batchnorms(model)
    train(model, training, l1=0.0, epochs=args.epochs, rate=args.rate, batch=args.batch, seed=args.seed)
    print(f"test accuracy {accuracy(model, test):.2%}, {sum(p.numel() for p in model.parameters()):,} parameters")
    export(model, args.out)

"""The tasks of `compare.py` in PyTorch: channels last, eager or through `torch.compile`, bfloat16 by autocast.

On the CPU with oneDNN's kernels, on a GPU with cuDNN's.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

Task = Callable[[int], Any]
"""Does the work so many times, one after the other, and waits for the last. Inputs lie on the device."""
COMPILED = os.environ.get("PEERS_TORCH_COMPILE") == "1"
PRECISION = os.environ.get("PEERS_PRECISION", "float32")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_float32_matmul_precision("high" if PRECISION == "tensorfloat32" else "highest")
torch.backends.cudnn.allow_tf32 = PRECISION == "tensorfloat32"
VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
MOBILENET = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


class Scale(nn.Module):
    """Images uint8[b, s, s, 3] to float32[b, 3, s, s], -1 to 1; the memory stays channels last."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def inference(name: str, batch: np.ndarray, **settings: Any) -> Task:
    """Logits of a batch of images uint8[b, s, s, 3]."""
    return _prediction(nn.Sequential(*_network(name, batch.shape[1], **settings).values()), batch)


def training(name: str, freeze_until: str, batch: np.ndarray, labels: np.ndarray, **settings: Any) -> Task:
    """A step of Adam on a batch of images, with the layers before `freeze_until` frozen."""
    named = _network(name, batch.shape[1], **settings)
    names = list(named)
    start = 0 if freeze_until == "none" else names.index(freeze_until)
    frozen = nn.Sequential(*list(named.values())[:start]).requires_grad_(False)
    return _step(frozen, nn.Sequential(*list(named.values())[start:]), batch, labels)


def prefix(name: str, freeze_until: str, batch: np.ndarray, **settings: Any) -> Task:
    """The output of the layers before `freeze_until`."""
    named = _network(name, batch.shape[1], **settings)
    return _prediction(nn.Sequential(*list(named.values())[: list(named).index(freeze_until)]), batch)


def head(name: str, features: np.ndarray, labels: np.ndarray, image_size: int, **settings: Any) -> Task:
    """A step of the classifier alone on cached features."""
    return _step(nn.Sequential(), nn.Sequential(nn.Linear(features.shape[1], 2)), features, labels)


def _network(name: str, size: int, alpha: float = 1.0) -> dict[str, nn.Module]:
    """The layers by name, in order."""
    body = {"mobilenet": _mobilenet, "vgg16": _vgg16, "simple_cnn": _simple_cnn}[name]
    found, features = body(size, alpha)
    return {"scale": Scale(), **found, "head": nn.Linear(features, 2)}


def _mobilenet(size: int, alpha: float) -> tuple[dict[str, nn.Module], int]:
    def conv(number: str, kind: str, inputs: int, outputs: int, *shape: int, groups: int = 1) -> None:
        found[f"{kind}{number}"] = nn.Conv2d(inputs, outputs, *shape, groups=groups, bias=False)
        found[f"{kind}{number}_bn"] = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        found[f"{kind}{number}_relu"] = nn.ReLU6(inplace=True)

    width, found = int(32 * alpha), {"conv_pad_0": nn.ZeroPad2d((0, 1, 0, 1))}
    conv("", "conv1", 3, width, 3, 2)
    for number, (channels, stride) in enumerate(MOBILENET, start=1):
        if stride == 2:
            found[f"conv_pad_{number}"] = nn.ZeroPad2d((0, 1, 0, 1))
        conv(f"_{number}", "conv_dw", width, width, 3, stride, int(stride == 1), groups=width)
        conv(f"_{number}", "conv_pw", width, int(channels * alpha), 1)
        width = int(channels * alpha)
    return {**found, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}, width


def _vgg16(size: int, alpha: float) -> tuple[dict[str, nn.Module], int]:
    found, width = {}, 3
    for block, (channels, count) in enumerate(VGG16, start=1):
        for number in range(1, count + 1):
            found[f"block{block}_conv{number}"] = nn.Conv2d(width, channels, 3, padding=1)
            found[f"block{block}_relu{number}"] = nn.ReLU(inplace=True)
            width = channels
        found[f"block{block}_pool"] = nn.MaxPool2d(2)
    return {**found, "global_pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}, width


def _simple_cnn(size: int, alpha: float) -> tuple[dict[str, nn.Module], int]:
    found, width = {}, 3
    for number, channels in enumerate((32, 64), start=1):
        found[f"conv{number}"] = nn.Conv2d(width, channels, 3, padding=1)
        found[f"relu{number}"], found[f"pool{number}"] = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        width = channels
    return {**found, "flatten": nn.Flatten()}, width * (size // 4) ** 2


def _here(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).to(DEVICE)


def _mixed() -> torch.autocast:
    return torch.autocast(DEVICE, torch.bfloat16, enabled=PRECISION == "bfloat16")


def _prediction(model: nn.Module, batch: np.ndarray) -> Task:
    model = model.to(DEVICE, memory_format=torch.channels_last).eval()
    run, images = torch.compile(model) if COMPILED else model, _here(batch)

    def task(times: int) -> None:
        with torch.inference_mode(), _mixed():
            for _ in range(times):
                found = run(images)
            found.cpu()

    return task


def _step(frozen: nn.Module, model: nn.Module, batch: np.ndarray, labels: np.ndarray) -> Task:
    frozen, model = (part.to(DEVICE, memory_format=torch.channels_last) for part in (frozen.eval(), model.train()))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=DEVICE == "cuda")
    run_frozen, run = (torch.compile(part) if COMPILED and len(part) else part for part in (frozen, model))
    inputs, targets = _here(batch), _here(labels).long()

    def task(times: int) -> None:
        for _ in range(times):
            with _mixed():
                with torch.no_grad():
                    x = run_frozen(inputs)
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(run(x), targets)
            loss.backward()
            optimizer.step()
        loss.item()

    return task

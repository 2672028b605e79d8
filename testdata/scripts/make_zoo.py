#!/usr/bin/env python3
"""Exports networks of many kinds from PyTorch, with random weights, so that bench_all.sh can measure them.

    make_zoo.py DIR [NAME ...]          NAME: one of those below, or timm:MODEL, vision:MODEL, segment:MODEL, detect:MODEL
    bench_all.sh table.md DIR

Each goes to DIR/NAME/model.onnx with its inputs in DIR/NAME/test_data_set_0/, through the exporter of today and, where
that fails, through the one before it. Needs: pip install numpy onnx onnxscript torch torchvision timm transformers."""

import pathlib
import subprocess
import sys

import onnx
import torch
from onnx import numpy_helper
from torch import nn

SEED = 7
TIMM = """mobilenetv3_small_100 efficientnet_b0 convnext_atto regnety_002 ghostnet_100 mobilevit_xxs efficientvit_b0
edgenext_xx_small levit_128s pvt_v2_b0 mixer_s32_224 fastvit_t8 repvgg_a0 densenet121 hrnet_w18_small
xcit_nano_12_p16_224 eva02_tiny_patch14_224 swin_tiny_patch4_window7_224 mobilenetv4_conv_small repvit_m0_9"""
VISION = "shufflenet_v2_x0_5 squeezenet1_1 googlenet"
SMALL = dict(hidden_size=256, num_hidden_layers=3, num_attention_heads=4, intermediate_size=1024, vocab_size=1000)
TEXTS = ("Bert", "Albert", "DebertaV2", "MPNet", "MobileBert", "Electra")


class Unet(nn.Module):
    """Both ways up, all normalisations."""

    def __init__(self):
        super().__init__()
        block = lambda i, o: nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.InstanceNorm2d(o, affine=True), nn.LeakyReLU(0.1),
            nn.Conv2d(o, o, 3, padding=1), nn.GroupNorm(4, o), nn.SiLU())
        self.down, self.deep, self.deepest = block(1, 16), block(16, 32), block(32, 64)
        self.up, self.high = nn.ConvTranspose2d(64, 32, 2, 2), block(64, 32)
        self.larger, self.top = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), block(48, 16)
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, x):
        a = self.down(x)
        b = self.deep(nn.functional.max_pool2d(a, 2))
        c = self.deepest(nn.functional.avg_pool2d(b, 2))
        b = self.high(torch.cat([self.up(c), b], 1))
        return torch.softmax(self.out(self.top(torch.cat([self.larger(b), a], 1))), 1)


class Recurrent(nn.Module):
    """Features of sounds, both directions, two layers."""

    def __init__(self, kind):
        super().__init__()
        self.cells, self.out = kind(40, 96, 2, batch_first=True, bidirectional=True), nn.Linear(192, 30)

    def forward(self, x):
        return torch.log_softmax(self.out(self.cells(x)[0]), -1)


class First(nn.Module):
    """The first output of a model, or the one of a name."""

    def __init__(self, model, name=None):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, *inputs):
        result = self.model(*inputs)
        return result[self.name] if self.name else result[0]


def generator():
    steps, inputs = [], 100
    for outputs, step, pad in [(256, 1, 0), (128, 2, 1), (64, 2, 1), (32, 2, 1)]:
        steps += [nn.ConvTranspose2d(inputs, outputs, 4, step, pad, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*steps, nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh())


def enlarger():
    return nn.Sequential(nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.PReLU(32),
                         nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3))


def text(kind):
    import transformers
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**SMALL))
    return First(model), (torch.randint(5, 1000, (1, 64)), torch.ones(1, 64, dtype=torch.int64))


OWN = {
    "unet": lambda: (Unet(), (torch.randn(1, 1, 96, 128),)),
    "lstm": lambda: (Recurrent(nn.LSTM), (torch.randn(1, 50, 40),)),
    "gru": lambda: (Recurrent(nn.GRU), (torch.randn(1, 50, 40),)),
    "dcgan": lambda: (generator(), (torch.randn(1, 100, 1, 1),)),
    "espcn": lambda: (enlarger(), (torch.rand(1, 1, 120, 160),)),
    **{kind.lower(): lambda kind=kind: text(kind) for kind in TEXTS},
}


def network(name):
    """A module and its inputs."""
    if name in OWN:
        return OWN[name]()
    library, _, model = name.partition(":")
    if library == "timm":
        import timm
        return timm.create_model(model, pretrained=False), (torch.randn(1, 3, 224, 224),)
    import torchvision.models as vision
    if library == "vision":
        return getattr(vision, model)(weights=None), (torch.randn(1, 3, 224, 224),)
    if library == "segment":
        return First(getattr(vision.segmentation, model)(weights=None, weights_backbone=None), "out"), (torch.randn(1, 3, 160, 160),)
    if library == "detect":
        return getattr(vision.detection, model)(weights=None, weights_backbone=None), (torch.rand(1, 3, 320, 320),)
    sys.exit(f"no network {name}")


def export(folder, name, today):
    torch.manual_seed(SEED)
    model, inputs = network(name)
    for part in model.eval().modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.6, 1.4)
    data = folder / name.replace(":", "_") / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    file = data.parent / "model.onnx"
    how = dict(dynamo=True, external_data=False, verbose=False) if today else dict(dynamo=False, opset_version=17)
    with torch.no_grad():
        torch.onnx.export(model, inputs, str(file), **how)
    graph = onnx.load(file).graph
    weights = {w.name for w in graph.initializer}
    names = [i.name for i in graph.input if i.name not in weights]
    for i, (name, value) in enumerate(zip(names, inputs, strict=True)):
        (data / f"input_{i}.pb").write_bytes(numpy_helper.from_array(value.numpy(), name).SerializeToString())


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    if names[:1] == ["--one"]:
        return export(folder, names[1], names[2] == "today")
    names = names or [*OWN, *(f"timm:{n}" for n in TIMM.split()), *(f"vision:{n}" for n in VISION.split()),
                      "segment:deeplabv3_mobilenet_v3_large", "segment:lraspp_mobilenet_v3_large", "detect:ssdlite320_mobilenet_v3_large"]
    failed = []
    for name in names:
        # An exporter that gives up may take its process along.
        one = lambda when: subprocess.run([sys.executable, __file__, str(folder), "--one", name, when], capture_output=True)
        done = one("today").returncode == 0 or one("before").returncode == 0
        print(name, "" if done else "FAILED", flush=True)
        failed += [] if done else [name]
    sys.exit(1 if failed else 0)


main()

"""timm's networks in PyTorch, written anew, with timm's names of modules."""

import torch
from torch import nn


def make(name, classes):
    """Build a network with random weights and statistics."""
    network = ResNet50(classes) if name == "resnet50" else MobileNetV2(classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
    return network


class Bottleneck(nn.Module):
    def __init__(self, channels, filters, stride, widens):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        if widens:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * filters, 1, stride, bias=False),
                nn.BatchNorm2d(4 * filters),
            )

    def forward(self, x):
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet50(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for layer, (blocks, filters) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
            parts = []
            for block in range(blocks):
                stride = 2 if block == 0 and layer > 1 else 1
                parts.append(Bottleneck(channels, filters, stride, widens=block == 0))
                channels = 4 * filters
            setattr(self, f"layer{layer}", nn.Sequential(*parts))
        self.fc = nn.Linear(2048, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_dw = nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv_pw = nn.Conv2d(32, 16, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)

    def forward(self, x):
        x = nn.functional.relu6(self.bn1(self.conv_dw(x)))
        return self.bn2(self.conv_pw(x))


class Inverted(nn.Module):
    def __init__(self, channels, filters, stride, adds):
        super().__init__()
        wide, self.adds = 6 * channels, adds
        self.conv_pw = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv_dw = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv_pwl = nn.Conv2d(wide, filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(filters)

    def forward(self, x):
        y = nn.functional.relu6(self.bn1(self.conv_pw(x)))
        y = nn.functional.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        stages, channels = [nn.Sequential(Separable())], 16
        for filters, blocks, first in [
            (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1),
        ]:  # fmt: skip
            parts = []
            for block in range(blocks):
                parts.append(Inverted(channels, filters, 1 if block else first, adds=block > 0))
                channels = filters
            stages.append(nn.Sequential(*parts))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x):
        x = nn.functional.relu6(self.bn1(self.conv_stem(x)))
        x = nn.functional.relu6(self.bn2(self.conv_head(self.blocks(x))))
        return self.classifier(x.mean((2, 3)))

"""Images a second of deep backbones at 84 and 224 pixels, in bfloat16 (the small check: float32)."""

import torch
import torchvision
from torch import nn

from benchmarks.gpu.section import Section
from fewshot.backbones.build import build_backbone
from fewshot.settings.schema import settings_from


def main() -> None:
    """Time forward passes, and a training pass of ResNet-12."""
    section = Section()
    batch = 2 if section.small else 256
    fast = not section.small  # few CPUs multiply bfloat16
    for side in (84,) if section.small else (84, 224):
        images = torch.rand(batch, 3, side, side, device=section.device).contiguous(memory_format=torch.channels_last)
        for name, network in networks(side).items():
            network.to(section.device).to(memory_format=torch.channels_last).eval()

            def forward(network: nn.Module = network, images: torch.Tensor = images) -> None:
                with torch.no_grad(), torch.autocast(section.device.type, torch.bfloat16, enabled=fast):
                    network(images)

            time = section.milliseconds(forward, 0.2 if section.small else 1.0)
            section.add(f"{name} at {side}, images/s", round(1e3 * batch / time["median"], 1))

        resnet = networks(side)["ResNet-12"].to(section.device).to(memory_format=torch.channels_last).train()

        def step(resnet: nn.Module = resnet, images: torch.Tensor = images) -> None:
            with torch.autocast(section.device.type, torch.bfloat16, enabled=fast):
                loss = resnet(images).square().mean()
            torch.autograd.grad(loss, list(resnet.parameters()))

        time = section.milliseconds(step, 0.2 if section.small else 1.0)
        section.add(f"ResNet-12 at {side}, forward and backward, images/s", round(1e3 * batch / time["median"], 1))


def networks(side: int) -> dict[str, nn.Module]:
    """ResNet-12, a network of EfficientNet's size and a small vision transformer, with random weights."""
    resnet12 = settings_from({"backbone": {"name": "resnet12"}}).backbone
    vit = torchvision.models.VisionTransformer(side - side % 14, 14, 12, 6, 384, 1536)
    resized = nn.Sequential(nn.Upsample((side - side % 14,) * 2), vit) if side % 14 else vit
    return {
        "ResNet-12": build_backbone(resnet12, (3, side, side)),
        "EfficientNet-B0": torchvision.models.efficientnet_b0(),
        "ViT-S/14": resized,
    }


if __name__ == "__main__":
    main()

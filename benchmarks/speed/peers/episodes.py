"""The race's stored images as the peers take them: tensors of one episode each, ready in memory."""

import torch
from torch import Tensor

from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import Tasks, draw, make_images


def stored_tasks(case: Case) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The case's episodes: (support images, support labels, query images, query labels), float32 in [0, 1]."""
    images, rows = torch.from_numpy(make_images()), torch.from_numpy(draw(case.shape, case.tasks).rows)
    drawn = images[rows].float() / 255  # task way image channel height width
    return Tasks(drawn[:, :, : case.shape.shot], drawn[:, :, case.shape.shot :]).flat()


def stored_episode(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """The first episode as a user of a classifier has it: uint8 support images, their labels, one uint8 query."""
    images = torch.from_numpy(make_images()[draw(case.shape, 1).rows[0]])  # way shot+1 channel height width
    labels = torch.arange(case.shape.way).repeat_interleave(case.shape.shot)
    return images[:, : case.shape.shot].flatten(0, 1).contiguous(), labels, images[0, case.shape.shot :].contiguous()

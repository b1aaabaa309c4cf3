"""Trainings and parts of trainings that two processes share; test_distributed.py starts it with
torchrun.

`two_processes.py parts FOLDER` tries the parts of distributed.py, `two_processes.py train FOLDER
NAME ...` trains FOLDER/NAME.yaml in double precision.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, PartialState
from torch import nn

from acdc_seg.config import load_config, with_overrides
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.runtime.distributed import (
    any_rank,
    gather_batch,
    on_main_process,
    sync_layers,
)
from acdc_seg.training import setup
from acdc_seg.training.loop import Hooks, train


def make_network():
    """BatchNorms, one of them used twice, in double precision; its images are far from centered."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, eps=1e-2, momentum=0.3)
    layers = [nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.Conv2d(3, 3, 1), norm, nn.ReLU()]
    layers += [nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1)]
    return nn.Sequential(*layers).double()


def make_batches():
    """Two batches of images `(4, 1, 6, 5)` and their truth; the parts of the processes differ in
    mean and contrast.
    """
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 4, 1, 6, 5, generator=generator, dtype=torch.float64)
    images *= torch.tensor([1.0, 2.0, 5.0, 0.5])[:, None, None, None]
    images += torch.tensor([0.0, 3.0, -7.0, 1.0])[:, None, None, None]
    return list(
        zip(images, (torch.rand(2, 4, 1, 4, 3, generator=generator) > 0.7).double(), strict=True)
    )


def overlap_loss(logits, target):
    """A Dice loss pooled over the batch: not the mean of the losses of its parts."""
    probabilities = logits.sigmoid()
    return 1 - 2 * (probabilities * target).sum() / (probabilities.square() + target).sum()


def learn(accelerator):
    """A batch after the other: their losses, then the last one's logits and gradients, and the
    network's state.
    """
    network = make_network()
    sync_layers(network, accelerator)
    model = accelerator.prepare(network)
    losses = []
    for images, truth in make_batches():
        number = len(images) // accelerator.num_processes
        own = slice(number * accelerator.process_index, number * (accelerator.process_index + 1))
        part = images[own].clone().requires_grad_()
        torch.manual_seed(2)
        logits = model(part.contiguous(memory_format=torch.channels_last))
        loss = overlap_loss(
            gather_batch(accelerator, logits), gather_batch(accelerator, truth[own])
        )
        network.zero_grad()
        (loss * accelerator.num_processes).backward()
        losses.append(loss.item())
    return {
        "losses": torch.tensor(losses, dtype=torch.float64),
        "logits": logits.detach(),
        "image_gradient": part.grad / accelerator.num_processes,
        "gradients": {name: parameter.grad for name, parameter in network.named_parameters()},
        "state": network.state_dict(),
        "eval": network.eval()(images).detach(),
    }


def normalize_bf16(accelerator):
    """BatchNorm of bf16, as autocast gives it, and its running statistics."""
    norm = nn.Sequential(nn.BatchNorm2d(1))
    sync_layers(norm, accelerator)
    images = make_batches()[0][0].bfloat16()
    number = len(images) // accelerator.num_processes
    with torch.no_grad():
        y = norm(images[number * accelerator.process_index :][:number])
    return {"y": y, "running_mean": norm[0].running_mean, "running_var": norm[0].running_var}


def failure_of_first(accelerator):
    def fail():
        raise DataError("the disk is full")

    try:
        on_main_process(accelerator, fail)
    except DataError as error:
        return str(error)


def train_double(config, name):
    """Trains into runs/NAME in double precision and without dropout; the mean losses after each of
    its batches, and how many images this process predicted.
    """
    losses, predicted = [], []
    build_model, build_loss = setup.build_model, setup.build_loss

    def in_double(module):
        for layer in module.modules():
            if isinstance(layer, nn.Dropout | nn.Dropout2d):
                layer.p = 0.0
        module.double().register_forward_pre_hook(
            lambda module, inputs: (inputs[0].double(), *inputs[1:])
        )
        return module

    hooks = Hooks(on_batch=lambda epoch, done, total, mean_loss: losses.append(mean_loss))
    with pytest.MonkeyPatch.context() as patch:
        logits = ModelPredictor.logits
        patch.setattr(
            ModelPredictor,
            "logits",
            lambda self, images: predicted.append(len(images)) or logits(self, images),
        )
        patch.setattr(setup, "build_model", lambda *args: in_double(build_model(*args)))
        patch.setattr(setup, "build_loss", lambda *args, **kw: in_double(build_loss(*args, **kw)))
        train(with_overrides(config, {"name": name}), hooks=hooks)
    return losses, sum(predicted)


def see_parts(folder):
    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    seen = {"learned": learn(accelerator), "bf16": normalize_bf16(accelerator)}
    seen["any"] = [any_rank(accelerator, flag) for flag in (rank == 1, False)]
    seen["on_main_process"] = on_main_process(accelerator, lambda: f"process {rank} made it")
    seen["failure"] = failure_of_first(accelerator)
    torch.save(seen, Path(folder) / f"{rank}.pt")
    accelerator.end_training()


def see_training(folder, *names):
    """Trains FOLDER/NAME.yaml of each name, one after another in one group of processes."""
    with pytest.MonkeyPatch.context() as patch:
        # the group would end with the first training, and cannot be made again at once
        patch.setattr(Accelerator, "end_training", lambda self: None)
        for name in names:
            config = load_config(Path(folder) / f"{name}.yaml")
            seen = train_double(config, name)
            rank = PartialState().process_index
            torch.save(seen, Path(config.runs_dir) / name / f"seen_{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    {"parts": see_parts, "train": see_training}[sys.argv[1]](*sys.argv[2:])
    os._exit(0)  # as the commands do: gloo's threads may abort the teardown

"""Settings of the training: loss, optimizer, schedule and loop."""

from typing import Annotated, Literal

from pydantic import Field

from acdc_seg.config.section import Count, Fraction, NotNegative, Positive, Probability, Section


class LossConfig(Section):
    """Loss function."""

    name: Literal[
        "cross_entropy",
        "dice",
        "dice_ce",
        "dice_focal",
        "focal",
        "tversky",
        "focal_tversky",
        "jaccard",
        "bce",
    ] = "dice_ce"
    """Loss; all take class weights and ignore void pixels."""
    class_weights: tuple[NotNegative, ...] | None = None
    """Weight of each class, background first; null weights them equally."""
    lambda_dice: NotNegative = 1.0
    """Weight of the Dice part in `dice_ce` and `dice_focal`."""
    lambda_ce: NotNegative = 1.0
    """Weight of the cross-entropy part in `dice_ce`."""
    lambda_focal: NotNegative = 1.0
    """Weight of the focal part in `dice_focal`."""
    gamma: NotNegative = 2.0
    """Focusing exponent of `focal` and `dice_focal`."""
    tversky_alpha: NotNegative = 0.3
    """Weight of false positives in `tversky` and `focal_tversky`."""
    tversky_beta: NotNegative = 0.7
    """Weight of false negatives in `tversky` and `focal_tversky`."""
    tversky_gamma: Annotated[float, Field(gt=0)] = 0.75
    """Exponent of `focal_tversky`."""
    label_smoothing: Probability = 0.0
    """Label smoothing of the cross-entropy part."""


class OptimizerConfig(Section):
    """Optimizer."""

    name: Literal["adam", "adamw", "rmsprop", "sgd"] = "adamw"
    """Optimizer; sgd has Nesterov momentum."""
    lr: Positive = 0.001
    """Learning rate; the peak where the schedule has one."""
    weight_decay: NotNegative = 0.0001
    """Weight decay, of all but norms, biases and embeddings of positions; decoupled in adamw, an L2
    term in the others.
    """
    encoder_lr_factor: NotNegative = 1.0
    """Factor of the encoder's learning rate; below 1 keeps pretrained weights closer."""
    momentum: Probability = 0.9
    """Momentum of sgd and rmsprop."""


class ScheduleConfig(Section):
    """Learning rate schedule."""

    name: Literal["constant", "one_cycle", "cosine", "poly"] = "one_cycle"
    """Schedule; one_cycle is a cosine up and down, cosine and poly fall to zero."""
    warmup_fraction: Fraction = 0.1
    """Fraction of all steps in which the rate rises to `optimizer.lr`; 0 starts there."""
    power: Positive = 0.9
    """Exponent of poly."""


class TrainConfig(Section):
    """Training loop."""

    start_from: str | None = None
    """Run, checkpoint or model of the package (`acdc_volumes`) whose weights the whole network
    starts from, to fine-tune it; null starts at random, but for `model.pretrained`.
    """
    epochs: Count = 100
    """Passes over the training images."""
    batch_size: Count = 16
    """Images in a batch of all processes together; a multiple of their number."""
    grad_accum_steps: Count = 1
    """Batches whose gradients are averaged for one optimizer step; at an epoch's end those left."""
    max_grad_norm: Positive | None = 5.0
    """Largest norm of the gradient; null does not clip."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the network; auto takes bf16 where the device has it natively, fp16 on other
    CUDA GPUs, else fp32.
    """
    compile: bool = False
    """Compile the network (torch.compile): minutes before the first step, on the CPU by a C++
    compiler, and faster steps afterwards, most on a GPU.
    """
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device; auto takes a GPU where there is one."""
    num_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads, which may change the last digits of a result; null takes PyTorch's number."""
    ema_decay: Probability | None = 0.99
    """Decay per step of the averaged weights (EMA) that are validated and kept; null has none."""
    patience: Count | None = None
    """Early stopping after so many epochs without a better validation Dice; null never stops."""
    val_interval: Count = 1
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_interval_s: NotNegative = 60.0
    """Seconds between writes of last.pt, at least; 0 writes it after every step."""
    keep_last: bool = False
    """Keep last.pt, several times the size of best.pt, of a finished run, to extend it later."""
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where scores and settings go besides history.csv: `tensorboard` (files in the run folder),
    `mlflow` and `wandb` (with the extra of this name installed); [] for nowhere.
    """
    log_images_interval: Annotated[int, Field(ge=0)] = 10
    """Epochs between overlay images in TensorBoard; 0 writes none."""
    num_log_images: Count = 4
    """Number of overlay images."""

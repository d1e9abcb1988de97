"""What a training costs, counted in multiply-accumulates: a clock would say something else each time."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slimline.data.batch import take
from slimline.data.samples import Samples
from slimline.methods.macs import MORE_OPERATIONS, layer_by_layer, macs
from slimline.objectives import Objective
from slimline.params import StudentTraining
from slimline.training.fit import steps_per_epoch


def steps_of_equal_compute(
    student: nn.Module, teacher: nn.Module, config: StudentTraining, one: Samples, objective: Objective, samples: int
) -> int:
    """How many steps on labels alone cost what this training of the student costs with its teacher's part, rounded up.

    `one` is a sample; `samples` are those of the training split.
    """
    steps = config.epochs * steps_per_epoch(samples, config)
    step = step_macs(student, one, objective) * min(config.batch_size, samples)
    asked = config.teacher_passes(samples, steps) * macs(teacher, one.inputs)
    return -(-(steps * step + asked) // step)


def step_macs(model: nn.Module, one: Samples, objective: Objective) -> int:
    """Multiply-accumulates of a training step on one sample: forward and backward."""
    was_training = model.training
    model.train()
    with layer_by_layer(), FlopCounterMode(display=False, custom_mapping=MORE_OPERATIONS) as counter:
        loss: Tensor = objective.loss(model(**take(one.inputs, slice(0, 1))), take(one.targets, slice(0, 1)))
        torch.autograd.backward(loss)
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    return int(counter.get_total_flops()) // 2

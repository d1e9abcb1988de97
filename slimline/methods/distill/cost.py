"""What a training costs, counted in multiply-accumulates: a clock would say something else each time."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slimline.data.batch import count, take
from slimline.data.samples import Samples
from slimline.methods.distill.alone import steps_of
from slimline.methods.distill.assistant import assistants
from slimline.methods.macs import MORE_OPERATIONS, layer_by_layer, macs
from slimline.objectives import Objective
from slimline.params import AssistantParams, StudentTraining


def steps_of_equal_compute(
    student: nn.Module, teacher: nn.Module, config: StudentTraining, some: Samples, objective: Objective, samples: int, *, anew: bool
) -> int:
    """How many steps on labels alone cost what this training of the student costs with its teacher's part, rounded up.

    `some` are two samples; `samples` is how many the training split has; `anew` whether something augments them, so that
    the teacher is asked in every step.
    """
    steps, seen = steps_of(config, samples), config.trained_samples(samples)
    each, batch = step_macs(student, some, objective), min(config.batch_size, samples)
    asked = config.teacher_passes(seen, steps, anew=anew) * macs(teacher, some.inputs)
    helped = _assistants_macs(teacher, config, some, objective, samples, anew=anew) if isinstance(config, AssistantParams) else 0
    return -(-(config.student_passes(seen, steps) * each + asked + helped) // (each * batch))


def _assistants_macs(teacher: nn.Module, config: AssistantParams, some: Samples, objective: Objective, samples: int, *, anew: bool) -> int:
    """What the assistants' trainings cost, and what each answers for the one below it."""
    steps, seen, made = steps_of(config, samples), config.trained_samples(samples), 0
    for net in assistants(teacher, config, some.inputs):
        made += config.student_passes(seen, steps) * step_macs(net, some, objective)
        made += config.teacher_passes(seen, steps, anew=anew) * macs(net, some.inputs)
    return made


def step_macs(model: nn.Module, some: Samples, objective: Objective) -> int:
    """Multiply-accumulates of a training step, a sample: forward and backward, of the first two, since batch norms take no single one."""
    trained, few = copy.deepcopy(model).train(), slice(0, 2)
    inputs, targets = take(some.inputs, few), take(some.targets, few)
    with layer_by_layer(), FlopCounterMode(display=False, custom_mapping=MORE_OPERATIONS) as counter:
        loss: Tensor = objective.loss(trained(**inputs), targets)
        torch.autograd.backward(loss)
    return int(counter.get_total_flops()) // 2 // count(inputs)

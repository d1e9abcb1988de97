"""Method `self`: train the student again and again, each time on the labels and on what it answered the time before.

Furlanello et al. 2018, "Born-again neural networks" (arXiv 1805.04770). At alpha 0 the answers stand in for the labels: Bagherinezhad et
al. 2018, "Label refinery" (arXiv 1805.02641). No larger teacher takes part.
"""

from torch import nn

from slimline.methods.distill.guided import guided
from slimline.methods.edited import Edited, Listing
from slimline.params import SelfParams
from slimline.training.data import TrainingData
from slimline.training.fit import scored
from slimline.training.history import FitHistory


def born_again(student: nn.Module, _teacher: nn.Module, config: SelfParams, *, data: TrainingData) -> Edited:
    """Return the generation of the least mean error on validation, and its history; the student itself stays as it is.

    The first generation has the labels alone; each starts from the student's weights and sees the samples in another order.
    """
    if config.epochs == 0:
        return Edited(*data.fitted(student, config))
    made: list[tuple[nn.Module, FitHistory]] = [data.fitted(student, config)]
    for number in range(1, config.generations):
        with guided(data, made[-1][0], config) as guidance:
            made.append(guidance.fitted(student, config, seed=data.seed + number))
    errors = [float(scored(model, data.validation, data.objective)["error"].mean()) for model, _ in made]
    best = min(range(len(made)), key=errors.__getitem__)
    figures = [data.validation_metric(model) for model, _ in made]
    rows = tuple((number + 1, figure, "kept" if number == best else "") for number, figure in enumerate(figures))
    listing = Listing("Generations", ("generation", f"validation {data.metric}", ""), rows)
    return Edited(*made[best], listings=(listing,))

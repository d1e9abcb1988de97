"""In how many rounds a method prunes."""

from typing import Literal

from pydantic import model_validator

from slimline.params.section import Count, EditParams, Section


class Schedule(Section):
    """In how many rounds a method prunes: each takes a part, then trains with what is gone kept so."""

    kind: Literal["one_shot", "iterative", "agp"] = "one_shot"
    """one_shot: all at once; iterative: each round the same share of what remains; agp: most at first, on a cubic."""
    rounds: Count = 1
    """How many rounds; at least 2 where the kind is not one_shot."""
    epochs: Count = 1
    """Epochs of training after each round; the other settings are those of recover, which comes after the last round."""

    @model_validator(mode="after")
    def _rounds_fit_the_kind(self) -> "Schedule":
        if self.kind == "one_shot" and (self.rounds, self.epochs) != (1, 1):
            raise ValueError("one_shot has no rounds and trains in recover: set kind: iterative or agp")
        if self.kind != "one_shot" and self.rounds < 2:
            raise ValueError(f"{self.kind} needs at least 2 rounds")
        return self

    @property
    def asked(self) -> str:
        """What it asks for, as the end of a sentence; empty for one_shot."""
        if self.kind == "one_shot":
            return ""
        return f", in {self.rounds} rounds ({self.kind}) of {self.epochs} epoch{'s' if self.epochs > 1 else ''}"


class ScheduledParams(EditParams):
    """A method that can prune round by round."""

    schedule: Schedule = Schedule()
    """All at once, or in rounds with training between them."""

    @model_validator(mode="after")
    def _rounds_train_every_weight(self) -> "ScheduledParams":
        if self.schedule.kind != "one_shot" and self.recover.lora_rank is not None:
            raise ValueError(f"schedule {self.schedule.kind} trains every weight between its rounds: leave out recover.lora_rank")
        return self

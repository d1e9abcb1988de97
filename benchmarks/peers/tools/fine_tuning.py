"""A plain training loop, for tools that leave training to their user: Adam, the teacher's learning rate / 10, on the labels."""

import torch
from net import Net
from torch import nn

from slimline.data.batch import take


def fine_tuned(net: Net, model: nn.Module) -> None:
    """Train a model in place."""
    facts = net.given.facts
    optimizer = torch.optim.Adam(model.parameters(), lr=facts["learning_rate"] / 10)
    size, count = facts["training_batch"], len(net.train)
    for epoch in range(facts["epochs"]):
        model.train()
        order = torch.randperm(count, generator=torch.Generator().manual_seed(facts["seed"] + epoch))
        for batch in net.train.batches(order[start : start + size] for start in range(0, count - 1, size)):
            outputs = model(*(take(batch.inputs, slice(None))[name] for name in facts["inputs"]))
            loss = net.objective.loss(outputs, batch.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()

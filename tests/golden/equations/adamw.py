"""Adam with decoupled weight decay, as torch.optim.AdamW."""
import adam

KIND = "inner"
CASES = {
    "decoupled_decay": {"lr": 1e-3, "weight_decay": 0.1},
    "decoupled_decay_amsgrad": {"lr": 1e-3, "beta2": 0.9, "weight_decay": 0.1, "amsgrad": 1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {
    "decoupled_decay": [0.997241430792, -1.9987381936, 0.499596317259, 2.99968802387],
}


class Rule(adam.Rule):
    decoupled = True

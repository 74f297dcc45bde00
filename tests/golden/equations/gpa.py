"""Generalised primal averaging around AdamW: the weights are y, evaluators read x."""
import adamw

KIND = "inner"
CASES = {
    "default": {"lr": 0.01},
    "decay": {"lr": 0.01, "mu_x": 0.9, "mu_y": 0.5, "beta2": 0.9, "weight_decay": 0.1},
    "adamw": {"lr": 1e-3, "mu_x": 0, "weight_decay": 0.1},
}
# With mu_x = 0 the average is z itself: the figures are adamw's.
PUBLISHED = {"adamw": [0.997241430792, -1.9987381936, 0.499596317259, 2.99968802387]}


class Rule:
    def __init__(self, lr, mu_x=0.9967, mu_y=0.7, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        self.inner = adamw.Rule(lr, beta1, beta2, eps, weight_decay)
        self.mu_x, self.mu_y, self.x, self.z = mu_x, mu_y, None, None

    def step(self, y, g):
        if self.z is None:
            self.x = self.z = y
        self.z = self.inner.step(self.z, g)
        self.x = self.mu_x * self.x + (1 - self.mu_x) * self.z
        return self.mu_y * self.x + (1 - self.mu_y) * self.z

    @property
    def evaluation(self):
        return self.x

"""Schedule-free SGD (Defazio et al. 2024): the weights are y, evaluators read x."""

KIND = "inner"
CASES = {
    "default": {"lr": 0.1},
    "warmup_decay": {"lr": 0.1, "beta": 0.7, "weight_decay": 0.1, "warmup_steps": 5, "r": 0.5},
    "unweighted": {"lr": 0.1, "warmup_steps": 3, "weight_lr_power": 0},
}
# x as the algorithm specification prints it: a slip in the equations below shows too.
PUBLISHED = {"default": [0.964311764208, -1.98292506147, 0.560015987641, 3.10550389963]}


class Rule:
    def __init__(self, lr=1.0, beta=0.9, weight_decay=0.0, warmup_steps=0, r=0.0, weight_lr_power=2.0):
        self.lr, self.beta, self.decay, self.warmup, self.r, self.power = (
            lr, beta, weight_decay, warmup_steps, r, weight_lr_power)
        self.t, self.largest, self.weights, self.x, self.z = 0, 0.0, 0.0, None, None

    def direction(self, y, g):
        return g + self.decay * y

    def step(self, y, g):
        self.t += 1
        if self.t == 1:
            self.x = self.z = y
        lr = self.lr * min(1.0, self.t / self.warmup if self.warmup else 1.0)
        self.largest = max(self.largest, lr)
        weight = self.t**self.r * self.largest**self.power
        self.weights += weight
        self.z = self.z - lr * self.direction(y, g)
        c = weight / self.weights
        self.x = (1 - c) * self.x + c * self.z
        return self.beta * self.x + (1 - self.beta) * self.z

    @property
    def evaluation(self):
        return self.x
